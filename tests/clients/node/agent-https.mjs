// Node's https with an agent from https-proxy-agent: `node - URL`.
import https from "node:https";
import { HttpsProxyAgent } from "https-proxy-agent";

https.get(process.argv[2], { agent: new HttpsProxyAgent(process.env.HTTPS_PROXY) }, (answer) => {
  answer.pipe(process.stdout);
});
