import { afterEach, beforeEach, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { listenLocally } from "../../test/support/engine-server.ts";
import { MemoryBotState } from "../../test/support/memory-bot-state.ts";
import { withFeedbackOverHttp } from "../entries/feedback-over-http.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

const vote = (body: unknown, headers: Record<string, string> = {}) =>
  api.request("/v1/feedback", {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });

it("a thumb is counted by model, and a user's second one on the same answer replaces the first", async () => {
  const asked = { answerId: "a", model: "m" };
  expect((await vote({ ...asked, vote: "up", user: "ann" })).status).toBe(204);
  await vote({ ...asked, vote: "down", user: "ann" });
  await vote({ ...asked, vote: "down" }, { "x-snug-source": "slack" });
  await vote({ answerId: "b", vote: "up" });
  expect(await api.botState.feedbackTotals(0)).toEqual([
    { model: "", up: 1, down: 0 },
    { model: "m", up: 0, down: 2 },
  ]);
});

it("no key's vote takes the place of another's, whatever answer and user it names", async () => {
  const other = await api.makeKey(["chat"]);
  const asked = { answerId: "a", model: "m", user: "ann" };
  await vote({ ...asked, vote: "up" });
  await vote({ ...asked, vote: "down" }, { authorization: `Bearer ${other.secret}` });
  expect(await api.botState.feedbackTotals(0)).toEqual([{ model: "m", up: 1, down: 1 }]);
});

it.each([
  [{ vote: "up" }, "answerId"],
  [{ answerId: "", vote: "up" }, "answerId"],
  [{ answerId: "a" }, "vote"],
  [{ answerId: "a", vote: "sideways" }, "vote"],
  [{ answerId: "a", vote: "up", user: 7 }, "user"],
  [{ answerId: "a", vote: "up", timeToFirstTokenMs: -1 }, "timeToFirstTokenMs"],
  [{ answerId: "a", vote: "up", text: "hello" }, "text"],
])("%o is refused naming %s", async (body, param) => {
  const response = await vote(body);
  expect([response.status, await response.json()]).toMatchObject([400, { param }]);
  expect(await api.botState.feedbackTotals(0)).toEqual([]);
});

it("needs a key that may chat", async () => {
  const usage = await api.makeKey(["usage"]);
  const statusOf = async (authorization: string) =>
    (await vote({ answerId: "a", vote: "up" }, { authorization })).status;
  expect(await statusOf("Bearer wrong")).toBe(401);
  expect(await statusOf(`Bearer ${usage.secret}`)).toBe(403);
});

it("a bot elsewhere keeps its votes and tells the API", async () => {
  const { url, close } = await listenLocally((request) => api.app.fetch(request));
  const chat = await api.makeKey(["chat"]);
  const here = new MemoryBotState();
  const feedback = { answerId: "a", source: "slack", userId: "U1", vote: "up", at: Date.now(), model: "m" } as const;
  await withFeedbackOverHttp(here, { url, key: chat.secret }).recordFeedback({ ...feedback, quantization: "Q4_K_M" });
  const counted = [{ model: "m", up: 1, down: 0 }];
  expect([await here.feedbackTotals(0), await api.botState.feedbackTotals(0)]).toEqual([counted, counted]);
  await expect(withFeedbackOverHttp(here, { url, key: "wrong" }).recordFeedback(feedback)).rejects.toThrow("401");
  await close();
});
