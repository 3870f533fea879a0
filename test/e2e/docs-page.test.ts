/** The page with the API's routes in a real Chromium. */
import type { Browser } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { docsFiles } from "../../src/api/docs-page.ts";
import { openApi, type TestApi } from "../support/api.ts";
import { findChromium, startChromium } from "../support/browser.ts";
import { type Listening, listenLocally } from "../support/engine-server.ts";

const chromium = findChromium();
if (chromium === undefined) {
  console.warn("The page of the routes is not looked at: no Chromium found. Install one, or set SNUG_CHROMIUM.");
}

let api: TestApi;
let listening: Listening;

beforeAll(async () => {
  api = await openApi();
  listening = await listenLocally(api.app.fetch);
});
afterAll(async () => {
  await listening.close();
  api.close();
});

it("brings its files from here, and nothing else", async () => {
  for (const name of docsFiles) {
    const reply = await api.request(`/docs/static/${name}`);
    expect(reply.status).toBe(200);
    expect(reply.headers.get("content-type")).toMatch(name.endsWith(".css") ? /^text\/css/ : /^text\/javascript/);
  }
  expect((await api.request("/docs/static/admin.js")).status).toBe(404);
  const slash = await api.app.request("/docs/");
  expect([slash.status, slash.headers.get("location")]).toEqual([308, "/docs"]);
  const page = await api.request("/docs");
  const policy = page.headers.get("content-security-policy") ?? "";
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain("unsafe");
  expect(await page.text()).not.toMatch(/https?:\/\//);
});

describe.skipIf(chromium === undefined)("in Chromium", () => {
  let browser: Browser;
  beforeAll(async () => {
    browser = await startChromium(chromium!);
  });
  afterAll(() => browser?.close());

  it("shows every route, asks no other server, and breaks no rule of its own", async () => {
    const page = await browser.newPage();
    const complaints: string[] = [];
    const foreign: string[] = [];
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      const { url } = { url: request.url() };
      if (!url.startsWith(listening.url) && !url.startsWith("data:")) foreign.push(url);
    });
    await page.goto(`${listening.url}/docs`);
    await page.getByText("/v1/chat/completions", { exact: true }).waitFor({ timeout: 30_000 });
    const { paths } = (await (await api.request("/openapi.json")).json()) as { paths: Record<string, object> };
    const count = Object.values(paths).reduce((sum, methods) => sum + Object.keys(methods).length, 0);
    expect(await page.locator(".opblock").count()).toBe(count);
    expect(foreign).toEqual([]);
    expect(complaints).toEqual([]);
    await page.close();
  });
});
