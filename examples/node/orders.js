// A client of two services: orders over HTTPS, their events over a WebSocket. It holds no credential; in production the
// gatekeeper adds both.
import { EnvHttpProxyAgent, WebSocket, fetch, setGlobalDispatcher } from "undici";

// undici's fetch and WebSocket read the proxy variables with this line; those of Node 24 do without it.
setGlobalDispatcher(new EnvHttpProxyAgent());

export async function order(number) {
  const answer = await fetch(`https://api.example.com/v1/orders/${number}`);
  if (!answer.ok) throw new Error(`order ${number}: ${answer.status}`);
  return answer.json();
}

export function nextEvent(subscription) {
  const socket = new WebSocket("wss://events.example.com/orders");
  return new Promise((resolve, reject) => {
    socket.onopen = () => socket.send(JSON.stringify(subscription));
    socket.onmessage = ({ data }) => { resolve(JSON.parse(data)); socket.close(); };
    socket.onerror = ({ error }) => reject(error);
  });
}
