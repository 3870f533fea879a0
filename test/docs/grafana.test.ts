import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openApi, type TestApi } from "../support/api.ts";

interface Dashboard {
  panels: { title: string; targets: { expr: string }[]; gridPos: { x: number; y: number; w: number; h: number } }[];
  templating: { list: { query: string | { query: string } }[] };
}

const path = new URL("../../examples/grafana/snug.json", import.meta.url);
const { panels, templating } = JSON.parse(readFileSync(path, "utf8")) as Dashboard;

let api: TestApi;
/** Names and labels of every series that /metrics gives once all of them were counted. */
const known = new Map<string, Set<string>>();

beforeAll(async () => {
  api = await openApi();
  const { secret } = await api.makeKey(["chat"], { limits: { requestsPerMinute: 1 } });
  const authorization = `Bearer ${secret}`;
  await (await api.chat({ stream: true }, { headers: { authorization } })).text();
  expect((await api.chat({}, { headers: { authorization } })).status).toBe(429);
  await api.rows();
  const text = await (await api.request("/metrics")).text();
  for (const [, name = "", type] of text.matchAll(/^# TYPE (\S+) (\S+)$/gm)) {
    for (const end of type === "histogram" ? ["_bucket", "_sum", "_count"] : [""]) known.set(name + end, new Set());
  }
  for (const [, name = "", labels = ""] of text.matchAll(/^(\w+)\{([^}]*)\}/gm)) {
    for (const [, label = ""] of labels.matchAll(/(\w+)="/g)) known.get(name)?.add(label);
  }
});
afterAll(() => api.close());

it.each(panels.flatMap(({ title, targets }) => targets.map(({ expr }) => [title, expr] as const)))(
  "the panel %s asks for series that there are: %s",
  (_title, expr) => {
    const names = expr.match(/\bsnug_\w+/g) ?? [];
    expect(names.length).toBeGreaterThan(0);
    for (const name of names) expect([...known.keys()]).toContain(name);
    for (const [, name = "", filters = ""] of expr.matchAll(/(snug_\w+)\{([^}]*)\}/g)) {
      // Devices are told by engines that know them; the scripted one does not.
      if (name.startsWith("snug_engine_memory")) continue;
      for (const [, label = ""] of filters.matchAll(/(\w+)[=!]~?"/g)) expect([...known.get(name)!]).toContain(label);
    }
  },
);

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
