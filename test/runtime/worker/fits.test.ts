/** Fit questions in real workerd: every kind, every form, and the tables. */
import { exports } from "cloudflare:workers";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

beforeEach(() => {
  vi.spyOn(console, "log").mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const get = (path: string, parameters: Record<string, string>, headers: Record<string, string> = {}) =>
  exports.default.fetch(`http://worker.test${path}?${new URLSearchParams(parameters)}`, { headers });

describe("in workerd", () => {
  it.each([
    ["13b 6gb", "partial"],
    ["6gb", "models"],
    ["70b", "machines"],
    ["32b q4_k_m 2x16gb", "full"],
    ["10b nf4 8gb", "none"],
    ["qwen2.5-32b awq vllm 2x24gb", "full"],
    ["3060笔记本能跑什么", "models"],
    ["what is nf4", "term"],
  ])("%s is answered: %s", async (q, code) => {
    const response = await get("/v1/fits", { q });
    expect(await response.json()).toMatchObject({ verdict: { code }, query: { text: q } });
  });

  it.each([
    ["text", "text/plain; charset=utf-8", /^Partly/],
    ["markdown", "text/markdown; charset=utf-8", /^## Partly/],
    ["svg", "image/svg+xml", /^<svg /],
  ])("an answer can be %s", async (format, type, body) => {
    const response = await get("/v1/fits", { q: "13b 6gb", format });
    expect(response.headers.get("content-type")).toBe(type);
    expect(await response.text()).toMatch(body);
  });

  it("a known answer is not sent again", async () => {
    const first = await get("/v1/fits", { q: "13b 6gb" });
    await first.text();
    const again = await get("/v1/fits", { q: "13b 6gb" }, { "if-none-match": first.headers.get("etag")! });
    expect([again.status, await again.text()]).toEqual([304, ""]);
  });

  it("the tables are served", async () => {
    for (const path of ["/v1/models/catalogue", "/v1/gpus"]) {
      const { count, data } = await (await get(path, { limit: "5" })).json<{ count: number; data: unknown[] }>();
      expect([count, data.length]).toEqual([5, 5]);
    }
  });
});
