// The package ws with an agent from https-proxy-agent: `node - URL WORD`.
import { HttpsProxyAgent } from "https-proxy-agent";
import WebSocket from "ws";

const [url, word] = process.argv.slice(2);
const socket = new WebSocket(url, { agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) });
socket.on("open", () => socket.send(word));
socket.on("message", (data) => { console.log(String(data)); socket.close(); });
