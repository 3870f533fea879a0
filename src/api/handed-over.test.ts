import { expect, it } from "vitest";
import { handedOverMax } from "../core/limits.ts";
import type { UsageAdmission, UsageRow } from "../core/ports.ts";
import { createHandedOver } from "./handed-over.ts";

const admission = (id: string): UsageAdmission => ({
  ...{ id, at: 1, keyId: "k", source: "api", model: "m", stream: true },
});
const row = (id: string, settled: boolean): UsageRow => ({
  ...{ ...admission(id), usage: {}, timings: {}, settled, interrupted: false },
});

function open() {
  const settled = new Set<string>();
  const asked: string[][] = [];
  const ledger = { works: true };
  const handedOver = createHandedOver({
    async rowsOf(ids) {
      asked.push([...ids]);
      if (!ledger.works) throw new Error("The ledger is away.");
      return ids.map((id) => row(id, settled.has(id)));
    },
  });
  return { handedOver, settled, asked, ledger };
}

it("each answer is counted once, when its row is complete, and the ledger is asked for nothing else", async () => {
  const { handedOver, settled, asked } = open();
  expect(await handedOver.take()).toEqual([]);
  expect(asked).toEqual([]);
  handedOver.note(admission("a"));
  handedOver.note(admission("b"));
  settled.add("a");
  const [first, second] = await Promise.all([handedOver.take(), handedOver.take()]);
  expect([...first, ...second].map(({ id }) => id)).toEqual(["a"]);
  settled.add("b");
  expect((await handedOver.take()).map(({ id }) => id)).toEqual(["b"]);
  expect(asked.at(-1)).toEqual(["b"]);
});

it("what a ledger does not tell now is counted later, and no more is kept than its bound", async () => {
  const { handedOver, settled, ledger } = open();
  ledger.works = false;
  for (let number = 0; number <= handedOverMax; number++) {
    handedOver.note(admission(`r${number}`));
    settled.add(`r${number}`);
  }
  expect(await handedOver.take()).toEqual([]);
  ledger.works = true;
  const rows = await handedOver.take();
  expect(rows).toHaveLength(handedOverMax);
  expect(rows.map(({ id }) => id)).not.toContain("r0");
});
