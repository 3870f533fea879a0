import { afterEach, describe, expect, test } from "vitest";
import { AppError } from "../../src/core/errors.ts";
import { FakeEngine, sayForever, sayWords } from "../support/fake-engine.ts";
import { Stage } from "../support/slack/stage.ts";
import { ApiError } from "../support/slack/web-api.ts";
import { shownText, verbsOf } from "../support/slack/world.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

describe("/ask", () => {
  test("is acknowledged, posted as a message, answered in its thread, and gets its buttons", async () => {
    stage = await Stage.open();
    const { command, answer } = await stage.ask(stage.ann, "Who are you?");
    expect(command.delivery.ackedAt).toBe(command.delivery.sentAt);
    const root = stage.said()[0]!;
    expect(shownText(root)).toBe("💬 Ann\n> Who are you?");
    expect(answer.threadTs).toBe(root.ts);
    expect(shownText(answer)).toBe("Hello from the fake engine.\nfake · F16");
    expect(verbsOf(answer)).toEqual(["again", "up", "down"]);
    expect(command.replies).toEqual([]);
    expect(stage.engine.requests[0]).toMatchObject({
      model: "fake",
      messages: [{ role: "user", content: "Who are you?" }],
      userId: `slack:${stage.ann.id}`,
    });
  });

  test("is acknowledged before the engine, the store, the models or Slack are asked", async () => {
    stage = await Stage.open();
    stage.engine.models = () => new Promise(() => {});
    const { delivery } = await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Hi");
    await stage.until(() => delivery.ackedAt !== undefined, "the acknowledgement");
    expect(delivery.ackedAt).toBe(delivery.sentAt);
    expect(stage.engine.requests).toEqual([]);
  });

  test("takes a model and an unknown one is refused in one line with a request id", async () => {
    const models = ["small", "large"].map((id) => ({ id, loaded: true }));
    stage = await Stage.open({ engine: () => new FakeEngine({ models }) });
    await stage.ask(stage.ann, "--model Large Hi there");
    expect(stage.engine.requests[0]).toMatchObject({ model: "large", messages: [{ content: "Hi there" }] });
    const { answer } = await stage.ask(stage.ann, "—model huge Hi");
    expect(shownText(answer)).toMatch(/That model is not here\. Ask \/models for the list\. \(request r\d+\)/);
  });

  test("a private question is answered in the asker's direct messages", async () => {
    stage = await Stage.open();
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "--private Psst");
    const direct = stage.standIn.world.direct(stage.ann);
    expect(shownText(await stage.answered(1, direct))).toContain("Hello from the fake engine.");
    expect(stage.said()).toEqual([]);
  });

  test("a private question without the right to open conversations is refused in one line with a request id", async () => {
    stage = await Stage.open({ prepare: ({ missingScopes }) => missingScopes.add("conversations.open") });
    const command = await stage.standIn.slash(stage.ann, stage.channel, "/ask", "--private Psst");
    await stage.until(() => command.replies.length === 1, "the refusal");
    expect(command.replies[0]!.body.text).toMatch(/Something went wrong on our side\..*\(request r\d+\)/);
  });

  test("in a private channel the bot is not in, the answer goes to the asker, who is told why", async () => {
    stage = await Stage.open();
    const closed = stage.standIn.world.addChannel("secret", { kind: "group", botIsMember: false });
    const command = await stage.standIn.slash(stage.ann, closed, "/ask", "Hi");
    await stage.answered(1, stage.standIn.world.direct(stage.ann));
    await stage.until(() => command.replies.length === 1, "the notice");
    expect(command.replies[0]!.body.response_type).toBe("ephemeral");
    expect(command.replies[0]!.body.text).toContain("I am not in this channel");
  });

  test("without a question says so to the caller alone", async () => {
    stage = await Stage.open();
    const command = await stage.standIn.slash(stage.ann, stage.channel, "/ask", "  ");
    await stage.until(() => command.replies.length === 1, "the notice");
    expect(command.replies[0]!.body).toMatchObject({ response_type: "ephemeral" });
    expect(command.replies[0]!.body.text).toContain("There is no question");
    expect(stage.said()).toEqual([]);
  });

  test("an engine's error says what happened, keeps what was said, and offers another try", async () => {
    stage = await Stage.open();
    stage.engine.script = () => [
      { text: "Half an ans" },
      { error: new AppError("engine_unavailable", "The child died.") },
    ];
    const { answer } = await stage.ask(stage.ann, "Hi");
    expect(shownText(answer)).toMatch(/^Half an ans\n[\s\S]*The model is not available right now.*\(request r\d+\)/);
    expect(verbsOf(answer)).toEqual(["again"]);
    expect(shownText(answer)).not.toContain("The child died");
  });
});

describe("a native stream", () => {
  const slowWords = (count: number) =>
    function* () {
      for (let index = 0; index < count; index++) {
        yield { text: `word${index} ` };
        if (index % 20 === 19) yield { hold: `word ${index}` };
      }
    };
  const play = async (count: number) => {
    for (let index = 19; index < count; index += 20) {
      await stage.engine.reached(`word ${index}`);
      await stage.until(() => stage.timer.nextDueMs() === undefined, "the writes");
      stage.engine.release(`word ${index}`);
    }
  };

  test("starts for the asker, grows by what is new, and ends with small print and buttons", async () => {
    stage = await Stage.open();
    stage.engine.script = slowWords(100);
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Count");
    await play(100);
    const answer = await stage.answered();
    const whole = Array.from({ length: 100 }, (_, index) => `word${index}`).join(" ");
    expect(answer.stream).toEqual({ state: "stopped", text: whole, recipient: stage.ann.id });
    expect(stage.standIn.requests("chat.startStream")[0]!.args).toMatchObject({
      recipient_user_id: stage.ann.id,
      recipient_team_id: stage.standIn.world.teamId,
    });
    expect(stage.standIn.requests("chat.appendStream").length).toBeGreaterThan(1);
    expect(stage.standIn.requests("chat.update")).toEqual([]);
    expect(verbsOf(answer)).toEqual(["again", "up", "down"]);
    expect(stage.standIn.api.limitedCount).toBe(0);
  });

  test("shows the place in line in the status, and Slack's own Stop button", async () => {
    stage = await Stage.open({ engine: (clock) => new FakeEngine({ slots: 1, clock }) });
    stage.engine.script = () => [{ hold: "turn" }, { text: "Your turn." }];
    await stage.standIn.slash(stage.bob, stage.channel, "/ask", "First");
    await stage.engine.reached("turn");
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Second");
    const { world } = stage.standIn;
    await stage.until(() => world.statusHistory.some((text) => text.includes("Number 1 in line")), "the place");
    expect(world.sessions.map(({ status }) => status)).toEqual(["processing", "processing"]);
    stage.engine.release("turn");
    await stage.answered(2);
    await stage.until(() => world.sessions.every(({ status }) => status === "active"), "the sessions to end");
    expect([...world.statuses.values()].filter((status) => status !== "")).toEqual([]);
  });

  test("an open code fence is streamed without its end until the end comes", async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "Look:\n\n```ts\nconst a = 1;\n" };
      yield { hold: "code" };
      yield { text: "const b = 2;\n```\nDone." };
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Code");
    await stage.engine.reached("code");
    await stage.until(() => stage.answers()[0]?.stream?.text.includes("const a"), "the first line");
    expect(stage.answers()[0]!.stream!.text).toBe("Look:\n\n```ts\nconst a = 1;");
    stage.engine.release("code");
    const answer = await stage.answered();
    expect(answer.stream!.text).toBe("Look:\n\n```ts\nconst a = 1;\nconst b = 2;\n```\nDone.");
    expect(stage.standIn.requests("chat.update")).toEqual([]);
  });

  test("mentions in the model's words call nobody, even torn over two pieces", async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "Hear <" };
      yield { hold: "half" };
      yield { text: "!channel> and <@U0000001> & <b>bold</b> <!DOCTYPE html> https://example.org/" };
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Hi <!here>");
    await stage.engine.reached("half");
    await stage.until(() => stage.answers()[0]?.stream?.text === "Hear", "the beginning");
    stage.engine.release("half");
    const { stream } = await stage.answered();
    expect(stream!.text).toBe(
      "Hear <\u2060!channel> and <\u2060@U0000001> & <b>bold</b> <!DOCTYPE html> https://example.org/",
    );
  });

  test("falls back to edits at least 1.3 s apart where the workspace has no streams", async () => {
    stage = await Stage.open({ prepare: ({ missingMethods }) => missingMethods.add("chat.startStream") });
    stage.engine.script = slowWords(100);
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Count");
    await play(100);
    const answer = await stage.answered();
    expect(shownText(answer)).toContain("word99");
    const times = stage.standIn.requests("chat.update").map(({ at }) => at);
    expect(times.length).toBeGreaterThan(2);
    expect(Math.min(...times.slice(1).map((at, index) => at - times[index]!))).toBeGreaterThanOrEqual(1_300);
    // Later answers do not try again.
    await stage.ask(stage.ann, "And now?");
    expect(stage.standIn.requests("chat.startStream")).toEqual([]);
  });

  test("a stop button stands in the message where it is written by edits", async () => {
    stage = await Stage.open({
      prepare: ({ missingScopes }) => {
        for (const method of ["chat.startStream", "agents.sessions.setStatus", "assistant.threads.setStatus"]) {
          missingScopes.add(method);
        }
      },
    });
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("talking");
    const message = await stage.until(
      () => stage.answers().find((one) => shownText(one).includes("First words.")),
      "the first words",
    );
    expect(verbsOf(message)).toEqual(["stop"]);
    await stage.standIn.press(stage.ann, message, "stop");
    expect(shownText(await stage.answered())).toContain("First words.\nstopped · fake");
    expect(stage.engine.cancelledCount).toBe(1);
  });

  test("a stop button of its own stands beside the stream where Slack shows none, and goes at the end", async () => {
    stage = await Stage.open({ standIn: { withoutSubscriptions: ["agent_session_stopped"] } });
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("talking");
    const control = await stage.until(() => stage.answers().find((one) => verbsOf(one)[0] === "stop"), "the button");
    await stage.until(() => stage.answers().some((one) => one.stream !== undefined), "the stream");
    await stage.standIn.press(stage.ann, control, "stop");
    await stage.until(() => control.deleted, "the button to go");
    const answer = await stage.answered();
    expect(shownText(answer)).toContain("First words.");
    expect(shownText(answer)).toContain("stopped · fake");
    await stage.until(() => stage.standIn.world.sessions[0]!.status === "active", "the session's end");
  });

  test("a reply that got lost doubles no words", async () => {
    stage = await Stage.open();
    stage.standIn.fail("chat.appendStream", "lose reply");
    stage.engine.script = slowWords(60);
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Count");
    await play(60);
    const answer = await stage.answered();
    const whole = Array.from({ length: 60 }, (_, index) => `word${index}`).join(" ");
    expect(shownText(answer)).toBe(`${whole}\nfake · F16`);
  });

  test("Retry-After is waited out, and every word is there", async () => {
    stage = await Stage.open();
    stage.standIn.fail("chat.appendStream", new ApiError("ratelimited", 7));
    stage.engine.script = slowWords(60);
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Count");
    for (let index = 19; index < 60; index += 20) {
      await stage.engine.reached(`word ${index}`);
      await stage.until(() => stage.timer.nextDueMs() === undefined, "the writes", 10_000);
      stage.engine.release(`word ${index}`);
    }
    const answer = await stage.answered();
    expect(shownText(answer)).toContain("word59");
    const appends = stage.standIn.requests("chat.appendStream");
    const refused = appends.findIndex(({ result }) => result === "ratelimited");
    const [before, after] = [appends[refused]!, appends[refused + 1] ?? stage.standIn.requests("chat.stopStream")[0]!];
    expect(after.at - before.at).toBeGreaterThanOrEqual(7_000);
  });

  test("an answer deleted while it is written ends the work", async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield* sayForever();
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("talking");
    const message = await stage.until(() => stage.answers()[0], "the first words");
    await stage.standIn.erase(message);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
    expect(stage.engine.cancelledCount).toBe(1);
  });
});

describe("a long answer", () => {
  const sentences = (count: number) =>
    Array.from({ length: count }, (_, index) => `Sentence number ${index} says little.`).join(" ");

  test("of 12,000 characters stands in two messages, whole", async () => {
    const text = sentences(370);
    expect(text.length).toBeGreaterThan(12_000);
    stage = await Stage.open();
    stage.engine.script = () => [{ text }];
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.answered(2);
    const pages = stage.answers();
    expect(pages.map((page) => shownText(page).split("\nfake")[0]).join(" ")).toBe(text);
    expect(pages.map(verbsOf)).toEqual([[], ["again", "up", "down"]]);
  });

  test("beyond three messages comes as a file too", async () => {
    const text = sentences(1200);
    stage = await Stage.open();
    stage.engine.script = () => [{ text }];
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.answered(3);
    const file = await stage.until(() => stage.said().find(({ files }) => files.length > 0), "the file");
    expect(new TextDecoder().decode(file.files[0]!.bytes)).toBe(text);
    expect(file.threadTs).toBe(stage.said()[0]!.ts);
  });

  test("is cut at 4,000 characters a message where it is written by edits", async () => {
    stage = await Stage.open({ prepare: ({ missingMethods }) => missingMethods.add("chat.startStream") });
    stage.engine.script = function* () {
      yield { text: sentences(10) };
      yield { hold: "more" };
      yield { text: ` ${sentences(150)}` };
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk");
    await stage.engine.reached("more");
    await stage.until(() => stage.answers()[0] && shownText(stage.answers()[0]!).includes("Sentence"), "some");
    stage.engine.release("more");
    await stage.answered(2);
    for (const page of stage.answers()) expect(shownText(page).length).toBeLessThanOrEqual(4_000);
  });
});

describe("stop by Slack's own button", () => {
  const openEnded = async () => {
    stage = await Stage.open();
    stage.engine.script = function* () {
      yield { text: "First words. " };
      yield { hold: "talking" };
      yield { text: "More words. " };
      yield { hold: "on" };
      yield* sayForever();
    };
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Talk forever");
    await stage.engine.reached("talking");
    const message = await stage.until(
      () => stage.answers().find(({ stream }) => stream?.text.includes("First words.")),
      "the first words",
    );
    return { message, thread: message.threadTs! };
  };

  test("by the asker ends the work on the engine and keeps what was said", async () => {
    const { message, thread } = await openEnded();
    await stage.standIn.stopSession(stage.ann, stage.channel, thread);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
    expect(stage.engine.cancelledCount).toBe(1);
    expect(shownText(message)).toBe("First words.\nstopped · fake · F16");
    expect(verbsOf(message)).toEqual(["again", "up", "down"]);
    await stage.until(() => stage.standIn.world.sessions[0]!.status === "active", "the session's end");
  });

  test("by an administrator does too", async () => {
    const { thread } = await openEnded();
    await stage.standIn.stopSession(stage.admin, stage.channel, thread);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
    expect(stage.engine.cancelledCount).toBe(1);
  });

  test("stays while another answer in the thread is at work", async () => {
    const { thread } = await openEnded();
    stage.engine.script = sayWords("Short one.");
    await stage.standIn.say(stage.bob, stage.channel, "And this?", { thread });
    const short = () => stage.answers().some((one) => shownText(one).includes("Short one."));
    await stage.until(short, "the short answer");
    await stage.quiet();
    expect(stage.standIn.world.sessions[0]!.status).toBe("processing");
    await stage.standIn.stopSession(stage.ann, stage.channel, thread);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
    await stage.until(() => stage.standIn.world.sessions[0]!.status === "active", "the session's end");
  });

  test("works before there is anything to see", async () => {
    stage = await Stage.open();
    stage.engine.script = () => [{ hold: "prefill" }];
    await stage.standIn.slash(stage.ann, stage.channel, "/ask", "Hard one");
    const { sessions } = stage.standIn.world;
    // The clock stands still, so the placeholder is not due yet.
    await stage.until(() => sessions[0]?.status === "processing", "the button", 0);
    const { threadTs } = sessions[0]!;
    await stage.standIn.stopSession(stage.ann, stage.channel, threadTs);
    await stage.quiet();
    expect(shownText(await stage.answered())).toContain("stopped");
    expect(stage.engine.requests.length).toBe(stage.engine.cancelledCount);
  });

  test("by somebody else is refused to them alone, and the answer goes on by edits", async () => {
    const { message, thread } = await openEnded();
    await stage.standIn.stopSession(stage.bob, stage.channel, thread);
    const notice = await stage.until(() => stage.said().find(({ ephemeralFor }) => ephemeralFor), "the notice");
    expect(notice.ephemeralFor).toBe(stage.bob.id);
    expect(shownText(notice)).toContain("Only the one who asked");
    stage.engine.release("talking");
    await stage.engine.reached("on");
    await stage.until(() => shownText(message).includes("More words."), "more words");
    expect(stage.engine.cancelledCount).toBe(0);
    await stage.standIn.stopSession(stage.ann, stage.channel, thread);
    await stage.until(() => stage.bot.runningCount === 0, "the end");
  });
});

describe("buttons", () => {
  test("Regenerate answers again with another seed, takes the old buttons away, and drops the old answer", async () => {
    stage = await Stage.open();
    const { answer } = await stage.ask(stage.ann, "Say something");
    stage.engine.script = sayWords("Something else.");
    await stage.standIn.press(stage.ann, answer, "again");
    const second = await stage.answered(2);
    expect(shownText(second)).toContain("Something else.");
    expect(verbsOf(answer)).toEqual([]);
    expect(shownText(answer)).toContain("Hello from the fake engine.");
    expect(stage.engine.requests[1]).toMatchObject({ seed: 7, messages: [{ content: "Say something" }] });
  });

  test("thumbs are noted once per person with the model and the latency", async () => {
    stage = await Stage.open();
    const { answer } = await stage.ask(stage.ann, "Hi");
    const press = await stage.standIn.press(stage.bob, answer, "up");
    await stage.until(() => press.replies.length === 1, "the thanks");
    expect(press.replies[0]!.body).toMatchObject({ response_type: "ephemeral", replace_original: false });
    await stage.standIn.press(stage.bob, answer, "down");
    await stage.until(() => stage.state.votes.some(({ vote }) => vote === "down"), "the vote");
    expect(stage.state.votes).toEqual([
      expect.objectContaining({ source: "slack", userId: stage.bob.id, vote: "down", model: "fake" }),
    ]);
  });

  test("Regenerate by somebody else is refused to them alone", async () => {
    stage = await Stage.open();
    const { answer } = await stage.ask(stage.ann, "Hi");
    const press = await stage.standIn.press(stage.bob, answer, "again");
    await stage.until(() => press.replies.length === 1, "the notice");
    expect(press.replies[0]!.body.text).toContain("Only the one who asked");
    expect(stage.engine.requests).toHaveLength(1);
  });
});
