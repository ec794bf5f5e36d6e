// An integrator's script as it would be written without knowing of this crate: fetch, X-Api-Key,
// and `title` of a refusal. It ends with 0 when everything went as its writer expects.
//
//     BACKEND_URL=… MASTER_KEY=… node integrator.mjs

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";

const { BACKEND_URL, MASTER_KEY } = process.env;

class ApiError extends Error {
  constructor(status, body) {
    super(body.title ?? body.error ?? `HTTP ${status}`);
    this.status = status;
    this.code = body.code;
    this.detail = body.detail ?? body.message;
  }
}

function api(key) {
  return async (method, path, body, headers = {}) => {
    const response = await fetch(`${BACKEND_URL}${path}`, {
      method,
      headers: { "Content-Type": "application/json", "X-Api-Key": key, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    const data = text === "" ? undefined : JSON.parse(text);
    if (!response.ok) throw new ApiError(response.status, data);
    return { status: response.status, headers: response.headers, data };
  };
}

async function waitFor(look, reached) {
  for (let tries = 0; tries < 100; tries++) {
    const { data } = await look();
    if (reached(data)) return data;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  throw new Error("it took too long");
}

async function refusal(call, expected) {
  const error = await call.then(
    () => assert.fail("it should be refused"),
    (error) => error,
  );
  assert.ok(error instanceof ApiError, error);
  const { status, message, code } = error;
  assert.deepEqual({ status, title: message, code }, expected);
  assert.ok(error.detail);
}

const operator = api(MASTER_KEY);
const permissions = { dpp: ["create", "read", "update"], loyalty: ["create", "read", "update"] };
const created = await operator("POST", "/keys", { role: "minter", label: "script", permissions });
assert.equal(created.status, 201);
const call = api(created.data.key);
console.log("ok a key of its own");

const model = { granularity: "model", application: "script", network: "simulated" };
const passport = { ...model, modelNumber: "chair-1", name: "Chair", description: "Four legs" };
const made = await call("POST", "/v1/dpp/passports", passport);
assert.equal(made.status, 201);
assert.equal(made.data.status, "draft");
assert.equal(made.data.certificationStatus, "none");
const published = await call("POST", "/v1/dpp/passports/publish", { ids: [made.data.id] });
assert.deepEqual([published.status, published.data], [202, { accepted: 1 }]);
const certified = await waitFor(
  () => call("GET", `/v1/dpp/passports/${made.data.id}`),
  (data) => data.certificationStatus === "certified",
);
assert.equal(certified.status, "published");
console.log("ok a passport is certified");

const draft = { ...passport, modelNumber: "chair-2" };
assert.equal((await call("POST", "/v1/dpp/passports", draft)).status, 201);
const rows = [
  { ...draft, name: "Armchair" },
  { ...draft, modelNumber: "chair-3" },
  { modelNumber: "chair-4" },
];
const queued = await call("POST", "/v1/imports", { rows });
assert.deepEqual([queued.status, queued.data.status], [202, "queued"]);
const imported = await waitFor(
  () => call("GET", `/v1/imports/${queued.data.id}`),
  (data) => data.status === "done",
);
assert.deepEqual([imported.created, imported.updated], [1, 1]);
assert.deepEqual(imported.failed.map(({ row }) => row), [2]);
console.log("ok an import with a bad row");

const tier = await call("POST", "/v1/loyalty/reward-tiers", { name: "Gold", threshold: 1000 });
assert.equal(tier.status, 201);
assert.ok(tier.data.id);
assert.equal((await call("GET", "/v1/loyalty/reward-tiers")).status, 200);
const mint = (amount, key) =>
  call("POST", "/v1/loyalty/account/ada/mint", { amount }, { "Idempotency-Key": key });
const key = randomUUID();
const first = await mint(600, key);
const again = await mint(600, key);
assert.deepEqual(first.data, { newamount: 600 });
assert.deepEqual(again.data, first.data);
assert.equal(first.headers.get("idempotent-replayed"), null);
assert.equal(again.headers.get("idempotent-replayed"), "true");
const { orders } = await waitFor(
  () => call("GET", "/v1/loyalty/orders?walletId=ada"),
  (data) => data.orders.every((order) => order.status === "settled"),
);
assert.deepEqual(orders.map(({ walletId, amount }) => [walletId, amount]), [["ada", 600]]);
assert.ok(!Number.isNaN(Date.parse(orders[0].createdAt)));
console.log("ok points are minted once");

await refusal(call("POST", "/v1/dpp/passports", passport), {
  status: 409, title: "Conflict", code: "request_conflict",
});
await refusal(mint(601, key), {
  status: 422, title: "Unprocessable Content", code: "idempotency_key_reused",
});
await refusal(mint(0, randomUUID()), {
  status: 422, title: "Unprocessable Content", code: "validation_failed",
});
await refusal(call("GET", `/v1/dpp/passports/${randomUUID()}`), {
  status: 404, title: "Not Found", code: "not_found",
});
await refusal(call("GET", "/keys"), {
  status: 403, title: "Forbidden", code: "insufficient_permissions",
});
await refusal(api("ak_nobody")("GET", "/v1/loyalty/reward-tiers"), {
  status: 401, title: "Unauthorized", code: "invalid_api_key",
});
const reader = await operator("POST", "/keys", { role: "read", permissions: { dpp: ["read"] } });
await refusal(api(reader.data.key)("POST", "/v1/dpp/passports", passport), {
  status: 403, title: "Forbidden", code: "insufficient_permissions",
});
assert.equal((await operator("DELETE", `/keys/${created.data.id}`)).status, 204);
await refusal(call("GET", "/v1/loyalty/reward-tiers"), {
  status: 401, title: "Unauthorized", code: "key_revoked",
});
console.log("ok refusals have titles and codes");
