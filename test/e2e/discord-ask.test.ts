import { afterEach, describe, expect, test } from "vitest";
import { Stage } from "../support/discord/stage.ts";
import { answerOf, buttonsOf } from "../support/discord/stand-in.ts";

let stage: Stage;
afterEach(async () => {
  await stage.close();
  expect(stage.standIn.violations).toEqual([]);
});

describe("/ask on Discord", () => {
  test("a question is acknowledged, answered, and gets its buttons", async () => {
    stage = await Stage.open();
    const interaction = await stage.ask(stage.ann, "Who are you?");
    expect(interaction.ackType).toBe(5);
    expect(answerOf(interaction.original)).toBe("> Who are you?\nHello from the fake engine.");
    expect(interaction.original!.content).toContain("-# fake · F16");
    expect(buttonsOf(interaction.original!)).toEqual(["again", "up", "down"]);
  });
});
