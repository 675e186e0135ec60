// The stub upstream of `exec` echoes: a request as JSON with its headers, a WebSocket message as it is.
import assert from "node:assert/strict";
import { test } from "node:test";
import { nextEvent, order } from "./orders.js";

test("an order is asked for with the token that the client does not have", async () => {
  const { method, target, headers } = await order(7);
  assert.deepEqual([method, target], ["GET", "/v1/orders/7"]);
  const [, token] = headers.find(([name]) => name.toLowerCase() === "authorization") ?? [];
  assert.match(token ?? "none", /^Bearer ./);
});

test("events come over a WebSocket", async () => {
  assert.deepEqual(await nextEvent({ orders: [7] }), { orders: [7] });
});
