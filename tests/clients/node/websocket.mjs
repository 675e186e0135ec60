// The WebSocket that Node brings along: `node - URL WORD`.
const [url, word] = process.argv.slice(2);
const socket = new WebSocket(url);
socket.onopen = () => socket.send(word);
socket.onmessage = ({ data }) => { console.log(data); socket.close(); };
socket.onerror = ({ message }) => { console.error(message); process.exitCode = 1; };
