import { beforeEach, describe, expect, it } from "vitest";
import { fakePlatform } from "../../test/support/fake-platform.ts";
import { MemoryBotState } from "../../test/support/memory-bot-state.ts";
import { MemoryEventClaims } from "../../test/support/memory-event-claims.ts";
import { MemoryLogger } from "../../test/support/memory-logger.ts";
import { type CommandCall, replyToCommand } from "./command-replies.ts";
import { COMMANDS } from "./commands.ts";
import { createFitsPort } from "./fits-answer.ts";
import { type BotWarning, createWarningTeller } from "./warnings.ts";

const day = 86_400_000;
const hot: BotWarning = {
  engine: "attic",
  id: "thermal:0",
  since: 5 * day,
  text: { en: "It is hot.", zh: "太热了。" },
};

let warnings: BotWarning[];
let logger: MemoryLogger;
let claims: MemoryEventClaims;
beforeEach(() => {
  warnings = [hot];
  logger = new MemoryLogger();
  claims = new MemoryEventClaims();
});
const tellerFor = (source: "discord" | "slack") =>
  createWarningTeller({ source, claims, clock: { now: () => 6 * day }, logger, read: async () => warnings });

describe("a warning", () => {
  it("is told once on each platform, over a restart too, and again when it comes back another day", async () => {
    expect(await tellerFor("discord")()).toEqual([hot]);
    expect(await tellerFor("discord")()).toEqual([]);
    expect(await tellerFor("slack")()).toEqual([hot]);
    warnings = [{ ...hot, since: 5 * day + 1000 }];
    expect(await tellerFor("discord")()).toEqual([]);
    warnings = [{ ...hot, since: 7 * day }];
    expect(await tellerFor("discord")()).toEqual(warnings);
  });

  it("of another engine or another card is another one", async () => {
    const teller = tellerFor("discord");
    await teller();
    warnings = [hot, { ...hot, engine: "cellar" }, { ...hot, id: "thermal:1" }];
    expect(await teller()).toEqual(warnings.slice(1));
  });

  it("that cannot be read costs a line in the log and nothing else", async () => {
    const read = () => Promise.reject(new Error("no API"));
    const teller = createWarningTeller({ source: "discord", claims, clock: { now: () => 1 }, logger, read });
    expect(await teller()).toEqual([]);
    expect(logger.lines.map(({ message }) => message)).toEqual(["warnings could not be read"]);
  });
});

describe("/stats", () => {
  const totals = {
    requests: 0,
    aborted: 0,
    failed: 0,
    interrupted: 0,
    promptTokens: 0,
    completionTokens: 0,
    cachedPromptTokens: 0,
  };
  const ask = (isAdmin: boolean, locale: CommandCall["locale"]) =>
    replyToCommand(
      {
        command: COMMANDS.find(({ key }) => key === "stats")!,
        options: {},
        asker: { id: "1", name: "Ann", isAdmin, isManager: isAdmin, roleIds: [] },
        where: { source: "discord", channelId: "1", direct: false },
        locale,
        platform: fakePlatform,
        mention: "@snug",
      },
      {
        models: async () => [],
        state: new MemoryBotState(),
        usage: { groups: async () => ({ groups: [], groupCount: 0, totals }) },
        fits: createFitsPort(),
        clock: { now: () => 6 * day },
        logger,
        newId: () => "1",
        defaultModel: undefined,
        ledgerPrefix: "",
        capabilities: [],
        warnings: tellerFor("discord"),
        onForget: () => {},
      },
    );

  it("begins with what administrators were not told yet, in their language, and then says it no more", async () => {
    expect((await ask(true, "zh-CN")).text).toMatch(/^⚠️ attic: 太热了。\n\*\*/);
    expect((await ask(true, "en")).text).not.toContain("⚠️");
    warnings = [{ ...hot, id: "thermal:1" }];
    expect((await ask(true, "en")).text).toContain("⚠️ attic: It is hot.");
  });

  it("says nothing of machines to others, and leaves the warning for those it is for", async () => {
    expect((await ask(false, "en")).text).not.toContain("hot");
    expect((await ask(true, "en")).text).toContain("It is hot.");
  });
});
