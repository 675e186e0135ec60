// WebSocket of the package undici, whose agent reads the environment: `node - URL WORD`.
import { EnvHttpProxyAgent, WebSocket, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());
const [url, word] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.onopen = () => socket.send(word);
socket.onmessage = ({ data }) => { console.log(data); socket.close(); };
socket.onerror = ({ error }) => { console.error(error); process.exitCode = 1; };
