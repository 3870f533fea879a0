/** What only interactions by HTTP have: signatures, replays, a reply that Discord knows late, buttons after a restart. */
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { afterEach, expect, test } from "vitest";
import { setInteractionsEndpoint } from "../../src/bots/discord/start.ts";
import { Stage } from "../support/discord/stage.ts";
import { answerOf, buttonsOf } from "../support/discord/stand-in.ts";
import { sayForever } from "../support/fake-engine.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

const open = async (options: Parameters<typeof Stage.open>[0] = {}) => {
  stage = await Stage.open({ by: "http", ...options });
};

const send = async (request: Request) => (await stage.standIn.http!(request)).status;
const ping = { id: "1", application_id: "1", type: 1, token: "t" };

test("a signed ping is answered", async () => {
  await open();
  const response = await stage.standIn.http!(stage.standIn.signed(ping));
  expect(response.headers.get("content-type")).toContain("application/json");
  expect(await response.json()).toEqual({ type: 1 });
});

test("of 10,000 forged, stale, truncated and replayed requests none is taken", async () => {
  await open();
  const { standIn, timer } = stage;
  const stranger = generateKeyPairSync("ed25519").privateKey;
  const asked = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Once" });
  await stage.answered(() => asked.original);
  const good = standIn.signed(asked.payload!);
  const body = await good.clone().text();
  const headers = Object.fromEntries(good.headers);
  const signature = headers["x-signature-ed25519"]!;
  const variant = (changed: Record<string, string>, text = body) =>
    new Request(good.url, { method: "POST", body: text, headers: { ...headers, ...changed } });
  const flipped = (index: number) => {
    const digit = (Number.parseInt(signature[index]!, 16) ^ 1).toString(16);
    return signature.slice(0, index) + digit + signature.slice(index + 1);
  };
  const kinds: ((n: number) => Request)[] = [
    () => standIn.signed(asked.payload!, { by: stranger }),
    (n) => standIn.signed(asked.payload!, { offsetMs: (n % 2 === 0 ? -1 : 1) * (301_000 + n * 1000) }),
    (n) => variant({ "x-signature-ed25519": signature.slice(0, n % 128) }),
    (n) => variant({ "x-signature-ed25519": flipped(n % 128) }),
    () => variant({ "x-signature-ed25519": randomBytes(64).toString("hex") }),
    (n) => variant({}, body.slice(0, n % body.length)),
    (n) => variant({ "x-signature-timestamp": String(Math.floor(timer.now() / 1000) + 1 + (n % 200)) }),
    // Signed and in time, but taken before.
    () => variant({}),
  ];
  const statuses = new Map<number, number>();
  for (let n = 0; n < 10_000; n++) {
    const status = await send(kinds[n % kinds.length]!(n));
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  expect([...statuses]).toEqual([
    [401, 8750],
    [409, 1250],
  ]);
  expect(stage.engine.requests).toHaveLength(1);
}, 60_000);

test("what is signed but no interaction, too large or no POST is refused", async () => {
  await open();
  const { standIn } = stage;
  expect(await send(standIn.signed({}, { body: "no JSON" }))).toBe(400);
  expect(await send(standIn.signed({}, { body: "[1]" }))).toBe(400);
  expect(await send(standIn.signed({ type: 2 }))).toBe(500);
  expect(await send(standIn.signed({}, { body: "x".repeat(1024 * 1024 + 1) }))).toBe(413);
  expect((await standIn.http!(new Request("http://127.0.0.1/discord/interactions"))).status).toBe(405);
});

test("a reply that Discord knows only a moment later is written all the same", async () => {
  await open();
  stage.standIn.knowsLateMs = 300;
  const interaction = await stage.ask(stage.ann, "Early bird");
  expect(answerOf(interaction.original)).toBe("> Early bird\nHello from the fake engine.");
  const patches = stage.standIn.requests("PATCH", "/messages/@original").map(({ status }) => status);
  expect(patches[0]).toBe(404);
  const models = await stage.standIn.slash(stage.ann, stage.channel, "models");
  await stage.advanceUntil(() => models.original?.content.includes("fake"), "the models");
});

test("after a restart Regenerate asks the same question again, and thumbs know the model", async () => {
  await open();
  const first = await stage.ask(stage.ann, "Who are you?");
  await stage.restart();
  await stage.standIn.press(stage.bob, first.original!, "up");
  await stage.advanceUntil(() => stage.state.votes.length === 1, "the vote");
  expect(stage.state.votes[0]).toMatchObject({ vote: "up", model: "fake", quantization: "F16" });
  const again = await stage.standIn.press(stage.ann, first.original!, "again");
  const answer = await stage.answered(() => again.followUps[0]);
  expect(answerOf(answer)).toBe("> Who are you?\nHello from the fake engine.");
  expect(stage.engine.requests[1]).toMatchObject({ messages: [{ content: "Who are you?" }], seed: 7 });
  const others = await stage.standIn.press(stage.bob, answer, "again");
  expect(others.original?.content).toContain("asked");
});

test("a form that outlived the program is answered", async () => {
  await open();
  const message = stage.standIn.say(stage.bob, stage.channel, "NF4 is a data type.");
  const form = await stage.standIn.menu(stage.ann, message, "Ask about this");
  await stage.restart();
  const asked = await stage.standIn.submit(form, { question: "Is it?" });
  await stage.answered(() => asked.original);
  expect(stage.engine.requests[0]!.messages.at(-1)!.content).toContain("NF4 is a data type.");
});

test("in direct messages the conversation goes on", async () => {
  await open();
  const direct = stage.standIn.world.directChannel(stage.ann);
  const first = await stage.standIn.slash(stage.ann, direct, "ask", { prompt: "My name is Ann." });
  await stage.answered(() => first.original);
  const second = await stage.standIn.slash(stage.ann, direct, "ask", { prompt: "What is my name?" });
  await stage.answered(() => second.original);
  expect(stage.engine.requests[1]!.messages.map(({ content }) => content)).toEqual([
    "My name is Ann.",
    "Hello from the fake engine.",
    "What is my name?",
  ]);
});

test("before its token ends the answer goes on as a message of the channel", async () => {
  await open();
  stage.engine.script = function* () {
    yield { text: "First words. " };
    yield { hold: "long" };
    yield* sayForever();
  };
  const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Talk" });
  await stage.engine.reached("long");
  await stage.advanceUntil(() => interaction.original?.content.includes("First words."), "the first words");
  stage.timer.advance(14 * 60_000 + 1);
  const message = await stage.advanceUntil(() => stage.said().find(({ id }) => id !== interaction.original?.id), "it");
  expect(message.content).toContain("First words.");
  expect(buttonsOf(message)).toEqual(["stop"]);
  await stage.standIn.press(stage.ann, message, "stop");
  await stage.settled();
  expect(stage.engine.cancelledCount).toBe(1);
});

test("haste is waited out, and a file comes with its text", async () => {
  await open({ standIn: { limits: { webhook: { limit: 1, windowMs: 1500 } } } });
  stage.engine.script = () => [{ text: "word ".repeat(1600) }];
  const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Much" });
  const last = await stage.answered(() => interaction.followUps.at(1), "the last page");
  expect(last.attachments.map(({ name }) => name)).toEqual([expect.stringMatching(/^answer-.*\.md$/)]);
  expect(stage.standIn.rest.limitedCount).toBeGreaterThan(0);
});

test("interactions can be given to an address and back to the gateway", async () => {
  await open();
  const { token, apiUrl } = stage.standIn;
  await setInteractionsEndpoint({ token, apiUrl, address: "https://bots.example.org/discord/interactions" });
  expect(stage.standIn.endpoint).toBe("https://bots.example.org/discord/interactions");
  await setInteractionsEndpoint({ token, apiUrl, address: undefined });
  expect(stage.standIn.endpoint).toBeUndefined();
  await expect(setInteractionsEndpoint({ token: "a.wrong.token", apiUrl, address: undefined })).rejects.toMatchObject({
    code: "invalid_configuration",
  });
});
