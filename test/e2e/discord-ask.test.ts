import { afterEach, describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { Stage, ways } from "../support/discord/stage.ts";
import { answerOf, buttonsOf } from "../support/discord/stand-in.ts";
import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

describe.each(ways)("/ask, by %s", (by) => {
  test("is acknowledged, answered, and gets its buttons", async () => {
    stage = await Stage.open({ by });
    const interaction = await stage.ask(stage.ann, "Who are you?");
    expect(interaction.ackType).toBe(5);
    expect(answerOf(interaction.original)).toBe("> Who are you?\nHello from the fake engine.");
    expect(interaction.original!.content).toContain("-# fake · F16");
    expect(buttonsOf(interaction.original!)).toEqual(["again", "up", "down"]);
    expect(stage.engine.requests[0]).toMatchObject({
      model: "fake",
      messages: [{ role: "user", content: "Who are you?" }],
      userId: `discord:${stage.ann.id}`,
    });
  });

  test("is acknowledged before the engine, the store or the models are asked", async () => {
    stage = await Stage.open({ by });
    stage.engine.models = () => new Promise(() => {});
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Hi" });
    expect(interaction.ackType).toBe(5);
    expect(stage.engine.requests).toEqual([]);
  });

  test("a private question is answered to its asker alone", async () => {
    stage = await Stage.open({ by });
    const interaction = await stage.ask(stage.ann, "Psst", { private: true });
    expect(interaction.ephemeral).toBe(true);
    expect(interaction.original!.flags & 64).toBe(64);
  });

  test("streams by edits at least 1.2 s apart, and the last state is written", async () => {
    const words = Array.from({ length: 200 }, (_, index) => `word${index}`).join(" ");
    stage = await Stage.open({ by });
    stage.engine.script = function* () {
      for (const [index, step] of sayWords(words)().entries()) {
        yield step;
        if (index % 20 === 19) yield { hold: `word ${index}` };
      }
    };
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Count" });
    for (let index = 19; index < 200; index += 20) {
      await stage.engine.reached(`word ${index}`);
      stage.timer.advance(300);
      stage.engine.release(`word ${index}`);
    }
    const message = await stage.answered(() => interaction.original);
    const times = stage.standIn.requests("PATCH", "/messages/@original").map((request) => request.at);
    const gaps = times.slice(1).map((at, index) => at - times[index]!);
    expect(times.length).toBeGreaterThan(3);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual(1200);
    expect(message.content).toContain("word199");
    expect(message.versions[1]!.content.length).toBeLessThan(message.content.length);
    expect(stage.standIn.rest.limitedCount).toBe(0);
  });

  test("a reply whose length nobody waits for is written once, without a placeholder", async () => {
    stage = await Stage.open({ by });
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Quick" });
    const message = await stage.standIn.until(() => interaction.original, "the answer");
    expect(answerOf(message)).toContain("Hello from the fake engine.");
    expect(buttonsOf(message)).toEqual(["again", "up", "down"]);
  });

  test("what takes longer shows that it is thought about, with a Stop button", async () => {
    stage = await Stage.open({ by });
    stage.engine.script = () => [{ hold: "prefill" }, { text: "Done" }];
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Hard one" });
    await stage.engine.reached("prefill");
    const message = await stage.advanceUntil(() => interaction.original, "the placeholder");
    expect(message.content).toBe("> Hard one\nThinking …");
    expect(buttonsOf(message)).toEqual(["stop"]);
    stage.engine.release("prefill");
    expect(answerOf(await stage.answered(() => message))).toBe("> Hard one\nDone");
  });

  test("a named model answers, an unknown one is refused in one line with a request id", async () => {
    const models = ["small", "large"].map((id) => ({ id, loaded: true }));
    stage = await Stage.open({ by, engine: () => new FakeEngine({ models }) });
    await stage.ask(stage.ann, "Hi", { model: "Large" });
    expect(stage.engine.requests[0]!.model).toBe("large");
    const refused = await stage.ask(stage.ann, "Hi", { model: "huge" });
    expect(refused.original!.content).toMatch(
      /^> Hi\n⚠️ That model is not here\. Ask \/models for the list\. \(request r\d+\)/,
    );
  });

  test("an engine's error says what happened, keeps what was said, and offers another try", async () => {
    stage = await Stage.open({ by });
    stage.engine.script = () => [
      { text: "Half an ans" },
      { error: new AppError("engine_unavailable", "The child died.") },
    ];
    const { original } = await stage.ask(stage.ann, "Hi");
    expect(original!.content).toMatch(/Half an ans\n⚠️ The model is not available right now.*\(request r\d+\)/);
    expect(buttonsOf(original!)).toEqual(["again"]);
    expect(original!.content).not.toContain("The child died");
  });

  test("a quota that is used up names the time to wait", async () => {
    stage = await Stage.open({ by });
    const error = new AppError("quota_exceeded", "Quota.", { retryAfterMs: 42_000 });
    stage.engine.script = () => [{ error }];
    const { original } = await stage.ask(stage.ann, "Hi");
    expect(original!.content).toMatch(/Your quota is used up for now\. \(in about 42 s\) \(request r\d+\)/);
  });

  test("a fault of ours shows a request id and nothing else; the log has the rest", async () => {
    stage = await Stage.open({ by });
    stage.engine.models = () => Promise.reject(new TypeError("secret detail"));
    const { original } = await stage.ask(stage.ann, "Hi");
    expect(original!.content).toMatch(/Something went wrong on our side\. \(request r1\)/);
    expect(JSON.stringify(stage.logger.lines)).toContain("secret detail");
  });

  test("thoughts of a reasoning model are folded into a spoiler", async () => {
    stage = await Stage.open({ by });
    stage.engine.script = sayWords("<think> 13B is about 8 GB. </think> It does not fit.");
    const { original } = await stage.ask(stage.ann, "13b 6gb?");
    expect(original!.content).toContain("||Thoughts: 13B is about 8 GB.||\nIt does not fit.");
  });

  test("thoughts can be hidden", async () => {
    stage = await Stage.open({ by, bot: { reasoning: "hidden" } });
    stage.engine.script = sayWords("<think> 13B is about 8 GB. </think> It does not fit.");
    const { original } = await stage.ask(stage.ann, "13b 6gb?");
    expect(original!.content).toMatch(/^> 13b 6gb\?\nIt does not fit\./);
    expect(original!.content).not.toContain("8 GB");
  });

  test("what the model writes pings nobody, unfolds no link and runs no command", async () => {
    stage = await Stage.open({ by });
    stage.engine.script = sayWords("@everyone <@1> /model name:evil https://example.org/ see");
    const { original } = await stage.ask(stage.ann, "Hi");
    expect(original!.content).toContain("@everyone <@1> /model name:evil https://example.org/");
    const edits = stage.standIn.requests("PATCH", "/messages/@original");
    for (const { body } of edits) {
      expect(body.allowed_mentions).toEqual({ parse: [], replied_user: false });
      expect(Number(body.flags) & 4).toBe(4);
    }
    expect(await stage.state.channelSettings("discord", stage.channel.id)).toEqual({});
  });
});

describe.each(ways)("a long answer, by %s", (by) => {
  test("goes on in follow-ups without tearing a code fence", async () => {
    const code = Array.from({ length: 90 }, (_, index) => `const value${index} = ${index} * 2;`).join("\n");
    stage = await Stage.open({ by });
    stage.engine.script = () => [{ text: `Here it is:\n\n\`\`\`ts\n${code}\n\`\`\`\nDone.` }];
    const interaction = await stage.ask(stage.ann, "Code please");
    expect(interaction.followUps).toHaveLength(1);
    const pages = [interaction.original!, ...interaction.followUps];
    for (const { content } of pages) {
      expect(content.length).toBeLessThanOrEqual(2000);
      expect(content.match(/```/g)!.length % 2).toBe(0);
    }
    const lines = pages.flatMap(({ content }) => content.split("\n")).filter((line) => line.startsWith("const "));
    expect(lines.join("\n")).toBe(code);
    expect(pages.map(buttonsOf)).toEqual([[], ["again", "up", "down"]]);
  });

  test("beyond three messages comes as a file too", async () => {
    const text = Array.from({ length: 300 }, (_, index) => `Sentence number ${index} says little.`).join(" ");
    stage = await Stage.open({ by });
    stage.engine.script = () => [{ text }];
    const interaction = await stage.ask(stage.ann, "Talk");
    expect(interaction.followUps).toHaveLength(2);
    const last = interaction.followUps[1]!;
    expect(last.attachments).toHaveLength(1);
    expect(new TextDecoder().decode(last.attachments[0]!.bytes)).toBe(text);
    expect(last.attachments[0]!.name).toMatch(/^answer-r\d+\.md$/);
    expect(last.content).toContain(`the whole answer (${text.length.toLocaleString("en")} characters) is in the file`);
  });
});

describe.each(ways)("the queue, by %s", (by) => {
  test("five people at one slot see their place and are all answered", async () => {
    stage = await Stage.open({ by, engine: (clock) => new FakeEngine({ slots: 1, clock }), bot: { pace: openPace } });
    stage.engine.script = () => [{ hold: "turn" }, { text: "Your turn." }];
    const people = ["Cas", "Dee", "Eve", "Flo", "Gus"].map((name) => stage.standIn.world.addUser(name));
    const asked = [];
    for (const person of people) {
      asked.push(await stage.standIn.slash(person, stage.channel, "ask", { prompt: `I am ${person.name}` }));
      await stage.advanceUntil(() => stage.engine.requests.length === asked.length, "the request");
    }
    for (const [index, interaction] of asked.entries()) {
      if (index === 0) continue;
      const shown = () => interaction.original?.content.includes(`Number ${index} in line`);
      await stage.advanceUntil(shown, `place ${index}`);
    }
    stage.engine.release("turn");
    for (const interaction of asked) {
      expect(answerOf(await stage.answered(() => interaction.original))).toContain("Your turn.");
    }
  });

  test("the wait is estimated from answers before", async () => {
    stage = await Stage.open({ by, engine: (clock) => new FakeEngine({ slots: 1, clock }) });
    const engine = stage.engine;
    const { timer } = stage;
    Object.assign(engine, { chat: slowChat(engine, () => timer.advance(9000)) });
    await stage.ask(stage.ann, "First");
    engine.script = () => [{ hold: "turn" }, { text: "Now." }];
    const first = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Second" });
    await engine.reached("turn");
    const waiting = await stage.standIn.slash(stage.bob, stage.channel, "ask", { prompt: "Third" });
    await stage.advanceUntil(
      () => waiting.original?.content.match(/Number 1 in line, about (9|1\d) s/),
      "the estimate",
    );
    engine.release("turn");
    await stage.answered(() => first.original);
  });
});

describe.each(ways)("Stop, by %s", (by) => {
  const openEnded = async () => {
    stage = await Stage.open({ by });
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    const interaction = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Talk forever" });
    await stage.engine.reached("talking");
    const message = await stage.advanceUntil(
      () => interaction.original?.content.includes("First words.") && interaction.original,
      "the first words",
    );
    return { interaction, message };
  };

  test("by the asker ends the work on the engine and keeps what was said", async () => {
    const { message } = await openEnded();
    const press = await stage.standIn.press(stage.ann, message, "stop");
    expect(press.ackType).toBe(6);
    await stage.answered(() => message);
    expect(stage.engine.cancelledCount).toBe(1);
    expect(message.content).toContain("First words.\n-# stopped · fake");
    expect(buttonsOf(message)).toEqual(["again", "up", "down"]);
  });

  test("by somebody else is refused to them alone", async () => {
    const { message } = await openEnded();
    const press = await stage.standIn.press(stage.bob, message, "stop");
    expect(press.ackType).toBe(4);
    expect(press.original!.flags & 64).toBe(64);
    expect(press.original!.content).toContain("Only the one who asked");
    expect(stage.bot.runningCount).toBe(1);
  });

  test("by an administrator works", async () => {
    const { message } = await openEnded();
    await stage.standIn.press(stage.admin, message, "stop");
    await stage.answered(() => message);
    expect(stage.engine.cancelledCount).toBe(1);
  });

  test("while waiting in line leaves the line", async () => {
    stage = await Stage.open({ by, engine: (clock) => new FakeEngine({ slots: 1, clock }) });
    stage.engine.script = () => [{ hold: "turn" }, { text: "Done." }];
    const first = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "One" });
    await stage.engine.reached("turn");
    const second = await stage.standIn.slash(stage.bob, stage.channel, "ask", { prompt: "Two" });
    const message = await stage.advanceUntil(() => second.original, "the place in line");
    await stage.standIn.press(stage.bob, message, "stop");
    await stage.advanceUntil(() => !buttonsOf(message).includes("stop"), "the end of the second");
    expect(message.content).toMatch(/^> Two\nstopped/);
    stage.engine.release("turn");
    expect(answerOf(await stage.answered(() => first.original))).toContain("Done.");
  });

  test("on an answer that has just ended leaves its last buttons alone", async () => {
    const { interaction, message } = await openEnded();
    const components = structuredClone(message.components);
    await stage.standIn.press(stage.ann, message, "stop");
    await stage.answered(() => message);
    // What was still on the screen when the last edit came.
    const late = await stage.standIn.press(stage.ann, { ...message, components }, "stop");
    expect(late.original!.content).toContain("already over");
    expect(buttonsOf(interaction.original!)).toEqual(["again", "up", "down"]);
  });

  test("on an answer of an earlier run takes the button away", async () => {
    const { message } = await openEnded();
    message.components = JSON.parse(JSON.stringify(message.components).replace(/stop:r\d+/, "stop:old"));
    const press = await stage.standIn.press(stage.ann, message, "stop");
    expect(press.ackType).toBe(7);
    expect(buttonsOf(message)).toEqual([]);
  });
});

describe.each(ways)("Regenerate and thumbs, by %s", (by) => {
  test("Regenerate answers again with another seed in a new message", async () => {
    stage = await Stage.open({ by });
    const { original } = await stage.ask(stage.ann, "Who are you?");
    stage.engine.script = sayWords("Something else.");
    const press = await stage.standIn.press(stage.ann, original!, "again");
    expect(press.ackType).toBe(7);
    expect(buttonsOf(original!)).toEqual([]);
    const again = await stage.answered(() => press.followUps[0]);
    expect(answerOf(again)).toBe("> Who are you?\nSomething else.");
    expect(stage.engine.requests[1]).toMatchObject({ seed: 7, temperature: 0.7 });
    expect(stage.engine.requests[1]!.messages).toEqual(stage.engine.requests[0]!.messages);
  });

  test.runIf(by === "gateway")(
    "Regenerate counts as a question, and a refused one leaves the answer its buttons and its place in the conversation",
    async () => {
      stage = await Stage.open({ by, bot: { pace: { ...openPace, questionsPerUserMax: 1 } } });
      const { original } = await stage.ask(stage.ann, "Who are you?");
      const press = await stage.standIn.press(stage.ann, original!, "again");
      expect(press.original!.flags & 64).toBe(64);
      expect(press.original!.content).toMatch(/try again in \d+ s/);
      expect(buttonsOf(original!)).toEqual(["again", "up", "down"]);
      stage.timer.advance(60_000);
      stage.standIn.say(stage.ann, stage.channel, "go on", { repliesTo: original! });
      await stage.advanceUntil(() => stage.engine.requests.length === 2, "the next question");
      expect(stage.engine.requests[1]!.messages).toHaveLength(3);
    },
  );

  test("Regenerate is the asker's", async () => {
    stage = await Stage.open({ by });
    const { original } = await stage.ask(stage.ann, "Who are you?");
    const press = await stage.standIn.press(stage.bob, original!, "again");
    expect(press.original!.content).toContain("Only the one who asked");
    expect(stage.engine.requests).toHaveLength(1);
  });

  test("a thumb is stored with what is known of the answer; the second replaces the first", async () => {
    stage = await Stage.open({ by });
    const { original } = await stage.ask(stage.ann, "Who are you?");
    await stage.standIn.press(stage.bob, original!, "up");
    const press = await stage.standIn.press(stage.bob, original!, "down");
    expect(press.original!.content).toContain("noted as a bad answer");
    await stage.advanceUntil(() => stage.state.votes[0]?.vote === "down", "the vote");
    expect(stage.state.votes).toEqual([
      expect.objectContaining({
        source: "discord",
        userId: stage.bob.id,
        vote: "down",
        model: "fake",
        quantization: "F16",
      }),
    ]);
  });
});

describe.each(ways)("limits, by %s", (by) => {
  test("a user who asks too often is told when to come back", async () => {
    stage = await Stage.open({ by, bot: { pace: { ...openPace, questionsPerUserMax: 2 } } });
    await stage.ask(stage.ann, "One");
    stage.timer.advance(10_000);
    await stage.ask(stage.ann, "Two");
    const { original } = await stage.ask(stage.ann, "Three");
    const seconds = Number(/try again in (\d+) s\. \(request r\d+\)/.exec(original!.content)?.[1]);
    expect(seconds).toBeGreaterThan(30);
    expect(seconds).toBeLessThanOrEqual(50);
    expect(stage.engine.requests).toHaveLength(2);
    expect(answerOf((await stage.ask(stage.bob, "Mine")).original)).toContain("Hello");
    stage.timer.advance(60_000);
    expect(answerOf((await stage.ask(stage.ann, "Four")).original)).toContain("Hello");
  });

  test("a channel has a limit of its own", async () => {
    stage = await Stage.open({ by, bot: { pace: { ...openPace, questionsPerChannelMax: 1 } } });
    await stage.ask(stage.ann, "One");
    expect((await stage.ask(stage.bob, "Two")).original!.content).toContain("This channel asks a lot right now");
  });

  test("nobody has more than two answers at once", async () => {
    stage = await Stage.open({ by, engine: () => new FakeEngine({ slots: 4 }) });
    stage.engine.script = () => [{ hold: "on" }, { text: "Done." }];
    const asked = [];
    for (const prompt of ["One", "Two"]) {
      asked.push(await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt }));
      await stage.advanceUntil(() => stage.engine.requests.length === asked.length, "the request");
    }
    const third = await stage.standIn.slash(stage.ann, stage.channel, "ask", { prompt: "Three" });
    const refusal = await stage.standIn.until(() => third.original, "the refusal");
    expect(refusal.content).toContain("still working on 2 questions of yours");
    stage.engine.release("on");
    for (const interaction of asked) await stage.answered(() => interaction.original);
  });
});

describe.each(ways)("Chinese callers, by %s", (by) => {
  test("read their own script, whatever the names on the wire", async () => {
    stage = await Stage.open({ by });
    stage.ann.locale = "zh-CN";
    stage.bob.locale = "zh-TW";
    stage.engine.script = () => [{ error: new AppError("engine_unavailable", "Gone.") }];
    const simplified = await stage.ask(stage.ann, "你好");
    expect(simplified.original!.content).toMatch(/模型暂时不可用，请再试一次。（请求 r\d+）/);
    expect(simplified.original!.components[0]).toMatchObject({ components: [{ label: "重新生成" }] });
    const traditional = await stage.ask(stage.bob, "你好");
    expect(traditional.original!.content).toMatch(/模型暫時無法使用，請再試一次。（請求 r\d+）/);
  });
});

const openPace = { questionsPerUserMax: 100, questionsPerChannelMax: 100, windowMs: 60_000, answersPerUserMax: 10 };

/** Lets time pass while the engine answers. */
function slowChat(engine: FakeEngine, pass: () => void): FakeEngine["chat"] {
  const chat = engine.chat.bind(engine);
  return async function* (request, options) {
    for await (const event of chat(request, options)) {
      if (event.type === "start") pass();
      yield event;
    }
  };
}
