import { readFileSync } from "node:fs";
import { beforeAll, expect, it } from "vitest";
import { createMetrics } from "../../src/api/metrics.ts";
import { openApi } from "../support/api.ts";

interface Dashboard {
  panels: { title: string; targets: { expr: string }[]; gridPos: { x: number; y: number; w: number; h: number } }[];
  templating: { list: { query: string | { query: string } }[] };
}

const path = new URL("../../examples/grafana/snug.json", import.meta.url);
const { panels, templating } = JSON.parse(readFileSync(path, "utf8")) as Dashboard;

/** Names and labels of every series once all of them were counted. */
const known = new Map<string, Set<string>>();

beforeAll(() => {
  const metrics = createMetrics();
  metrics.countRequest("POST", "/v1/chat/completions", 200);
  metrics.countRefusal("rate_limit_exceeded");
  metrics.countAnswer(
    { id: "chatcmpl-1", at: 0, keyId: "key", source: "api", model: "m", stream: true },
    {
      id: "chatcmpl-1",
      engineId: "attic",
      usage: { promptTokens: 9, completionTokens: 8, cachedPromptTokens: 7 },
      timings: { queueMs: 1, timeToFirstTokenMs: 2, totalMs: 3, completionTokensPerSecond: 4 },
      finishReason: "stop",
      aborted: false,
    },
  );
  const device = { name: "GPU 0", bytesTotal: 2, bytesUsed: 1 };
  const engine = { name: "attic", state: "ready", slots: 2, active: 1, queued: 0, devices: [device] };
  read(metrics.render({ version: "1", live: 1, engines: [engine] }));
});

function read(text: string): void {
  for (const [, name = "", type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    for (const end of type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]) known.set(name + end, new Set());
  }
  for (const [, name = "", labels = ""] of text.matchAll(/^(\w+)\{([^}]*)\}/gm)) {
    for (const [, label = ""] of labels.matchAll(/(\w+)="/g)) known.get(name)?.add(label);
  }
}

it.each(panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)))(
  "the panel %s asks for series that there are: %s",
  (_title, expr) => {
    const names = expr.match(/\bsnug_\w+/g) ?? [];
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) expect([...known.keys()]).toContain(name);
    for (const [, name = "", filters = ""] of expr.matchAll(/(snug_\w+)\{([^}]*)\}/g)) {
      for (const [, label = ""] of filters.matchAll(/(\w+)[=!]~?"/g)) expect([...known.get(name)!]).toContain(label);
    }
  },
);

it("GET /metrics has every metric that a panel asks for", async () => {
  const api = await openApi();
  const text = await (await api.request("/metrics")).text();
  api.close();
  const asked = panels.flatMap(({ targets }) => targets.flatMap(({ expr }) => expr.match(/\bsnug_\w+/g) ?? []));
  const told = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  for (const name of asked) expect([...told]).toContain(name.replace(/_bucket$/, ""));
});

it("its choices are labels that there are", () => {
  for (const { query } of templating.list) {
    const [, name = "", label = ""] =
      /^label_values\((\w+), (\w+)\)$/.exec(typeof query === "string" ? "" : query.query) ?? [];
    if (name !== "") expect([...known.get(name)!]).toContain(label);
  }
});

it("no two panels lie on each other", () => {
  for (const [place, { gridPos: a, title }] of panels.entries()) {
    expect(a.x + a.w).toBeLessThanOrEqual(24);
    for (const { gridPos: b, title: other } of panels.slice(place + 1)) {
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      expect(apart, `${title} and ${other}`).toBe(true);
    }
  }
});
