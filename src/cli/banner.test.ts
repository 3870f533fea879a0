import { describe, expect, it } from "vitest";
import { GIB, MIB } from "../core/units.ts";
import { type BannerFacts, renderBanner } from "./banner.ts";

const plain = { paint: (_style: string, words: string) => words };
const facts: BannerFacts = {
  version: "0.1.0",
  hardware: {
    cpu: { name: "Ryzen 7", coresPhysical: 8, coresUsable: 1 },
    ramBytesTotal: 16 * GIB,
    ramBytesFree: 9 * GIB,
    gpus: [{ name: "RTX 2060", vramBytesTotal: 6144 * MIB, vramBytesFree: 5 * GIB }],
    backend: "cuda",
  },
  model: { id: "demo", quantization: "F16", contextLength: 1024, loaded: true, demo: true },
  slots: 4,
  engineUrl: undefined,
  address: "http://127.0.0.1:8787",
  dataDir: "./data",
  newAdminKey: "sk-snug-abc",
  bots: { discord: false, slack: false },
  startedInMs: 1234,
};

describe("renderBanner", () => {
  it("says what was found, what answers and where, and shows a new key", () => {
    const text = renderBanner(facts, { ...plain, locale: "en" });
    for (const part of [
      "RTX 2060 5 GiB free of 6 GiB",
      "1 core",
      "F16",
      "1k tokens, 4 answers at once",
      "http://127.0.0.1:8787",
      "http://127.0.0.1:8787/admin",
      "sk-snug-abc",
      "1.2 s",
    ]) {
      expect(text).toContain(part);
    }
  });

  it("says that the demo is one and how to get a real model, only then", () => {
    expect(renderBanner(facts, { ...plain, locale: "en" })).toContain("set SNUG_MODEL");
    const real = { ...facts, model: { id: "Qwen3-8B-Q4_K_M", loaded: true } };
    expect(renderBanner(real, { ...plain, locale: "en" })).not.toContain("set SNUG_MODEL");
  });

  it("does not show a key that the user already has", () => {
    const text = renderBanner({ ...facts, newAdminKey: undefined }, { ...plain, locale: "en" });
    expect(text).not.toContain("sk-snug-abc");
    expect(text).toContain("$SNUG_ADMIN_KEY");
  });

  it("names only a model that is there: of engines elsewhere it asks for their list", () => {
    expect(renderBanner(facts, { ...plain, locale: "en" })).toContain('-d \'{"model":"demo"');
    const elsewhere = { ...facts, model: undefined, engineUrl: "http://10.0.0.5:8788" };
    const text = renderBanner(elsewhere, { ...plain, locale: "en" });
    expect(text).toContain('curl http://127.0.0.1:8787/v1/models -H "Authorization: Bearer sk-snug-abc"');
    expect(text).not.toContain('"model":');
  });

  it("speaks Chinese", () => {
    const text = renderBanner(facts, { ...plain, locale: "zh" });
    expect(text).toContain("显存 6 GiB，可用 5 GiB");
    expect(text).toContain("演示模型");
  });
});
