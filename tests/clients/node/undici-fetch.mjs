// fetch of the package undici, whose agent reads the environment: `node - URL`.
import { EnvHttpProxyAgent, fetch, setGlobalDispatcher } from "undici";

setGlobalDispatcher(new EnvHttpProxyAgent());
const answer = await fetch(process.argv[2]);
console.log(await answer.text());
