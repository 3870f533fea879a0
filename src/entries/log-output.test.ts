import { expect, it } from "vitest";
import { createLogOutput } from "./log-output.ts";

it("lines of a moment are one write, in their order", async () => {
  const sent: string[] = [];
  const { write } = createLogOutput((text) => sent.push(text));
  write("a\n", "info");
  write("b\n", "warn");
  expect(sent).toEqual([]);
  await expect.poll(() => sent).toEqual(["a\nb\n"]);
  write("c\n", "info");
  await expect.poll(() => sent).toEqual(["a\nb\n", "c\n"]);
});

it("an error is written at once, after what came before it", () => {
  const sent: string[] = [];
  const { write } = createLogOutput((text) => sent.push(text));
  write("a\n", "info");
  write("b\n", "error");
  expect(sent).toEqual(["a\nb\n"]);
});

it("the end of the process loses nothing", () => {
  const sent: string[] = [];
  const before = process.listeners("exit");
  const { write } = createLogOutput((text) => sent.push(text));
  write("a\n", "info");
  const own = process.listeners("exit").find((listener) => !before.includes(listener))!;
  own.call(process, 0);
  expect(sent).toEqual(["a\n"]);
});
