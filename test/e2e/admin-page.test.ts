/** The admin page in a real Chromium, in front of the real server with a model that never stops by itself. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findChromium, openAdmin, signIn, startChromium } from "../support/browser.ts";
import { writeModel } from "../support/gguf/write-model.ts";
import { type SnugServerProcess, startSnug } from "../support/snug-process.ts";

const chromium = findChromium();
if (chromium === undefined) {
  console.warn("The admin page is not tested: no Chromium found. Install one, or set SNUG_CHROMIUM to its path.");
}

/** Chromium on two busy cores. */
const slow = { timeout: 20_000 };

let folder: string;
let snug: SnugServerProcess;
let browser: Browser;

/** A streamed answer of the endless model; resolves with all of its text when it ends. */
function ask(user: string): { headers: Promise<Response>; text: Promise<string> } {
  const headers = fetch(`${snug.address}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${snug.key}`, "content-type": "application/json" },
    body: JSON.stringify({ model: "endless", stream: true, user, messages: [{ role: "user", content: "Go on." }] }),
  });
  return { headers, text: headers.then((reply) => reply.text()) };
}

async function api(path: string): Promise<Record<string, unknown>> {
  const reply = await fetch(`${snug.address}${path}`, { headers: { authorization: `Bearer ${snug.key}` } });
  return (await reply.json()) as Record<string, unknown>;
}

/** How far the page can be scrolled sideways, pixels. */
const overflow = (page: Page) =>
  page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") as Promise<number>;

describe.skipIf(chromium === undefined)("the admin page in Chromium", () => {
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "snug-admin-"));
    const model = join(folder, "endless.gguf");
    await writeModel(model, { architecture: "llama", shape: "tiny", type: "F16", brain: "endless" });
    [snug, browser] = await Promise.all([
      startSnug({ SNUG_DATA_DIR: join(folder, "data"), SNUG_MODEL: model, SNUG_CONTEXT: "1000000" }),
      startChromium(chromium!),
    ]);
  });

  afterAll(async () => {
    await browser?.close();
    snug?.process.kill("SIGTERM");
    await snug?.exited;
    rmSync(folder, { recursive: true, force: true });
  });

  it("lets nobody in with a wrong key, and an administrator with the right one", async () => {
    const { page, problems } = await openAdmin(browser, snug.address);
    await signIn(page, "sk-snug-wrong");
    await page.getByRole("alert").getByText("not accepted").waitFor(slow);
    expect(await page.context().cookies()).toEqual([]);
    await signIn(page, snug.key);
    await page.getByRole("heading", { name: "Now" }).waitFor(slow);
    expect(await page.context().cookies()).toMatchObject([{ httpOnly: true, sameSite: "Strict", path: "/admin" }]);
    await page.getByText("ready").first().waitFor(slow);
    // The embedded engine tells of this machine.
    expect(await page.locator(".memory").last().getAttribute("aria-label")).toMatch(/^RAM: .+ of .+ used$/);
    await page.getByText("Sign out").click();
    await page.locator("#key").waitFor(slow);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it("shows a request while it is answered and ends it, and the client and the ledger see the end", async () => {
    const { page, problems } = await openAdmin(browser, snug.address);
    await signIn(page, snug.key);
    await page.getByText("Nothing is being answered.").waitFor(slow);
    const answer = ask("watched");
    expect((await answer.headers).status).toBe(200);
    const row = page.locator("tr", { hasText: "watched" });
    await row.getByText("answering").waitFor(slow);
    const tokens = async () => Number((await row.locator("td.number").first().innerText()).replaceAll(",", ""));
    await expect.poll(tokens, slow).toBeGreaterThan(0);
    const before = await tokens();
    // The page refreshes by itself.
    await expect.poll(tokens, slow).toBeGreaterThan(before);
    await row.getByRole("button").click();
    await page.getByText("The answer was ended.").waitFor(slow);
    expect(await answer.text).not.toContain("[DONE]");
    await row.waitFor({ state: "detached", ...slow });
    await expect
      .poll(async () => (await api("/v1/usage?user=watched")).rows, slow)
      .toMatchObject([{ aborted: true, settled: true }]);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it("says when the server does not answer, and goes on by itself", async () => {
    const { page } = await openAdmin(browser, snug.address);
    await signIn(page, snug.key);
    await page.locator("#live").waitFor(slow);
    await page.context().setOffline(true);
    await page.getByText("The server does not answer.").waitFor(slow);
    await page.context().setOffline(false);
    await page.getByText("The server does not answer.").waitFor({ state: "detached", ...slow });
    await page.context().close();
  });

  it("makes a key that works, shows it once, and revokes it after a question", async () => {
    const { page, problems } = await openAdmin(browser, snug.address);
    await signIn(page, snug.key);
    await page.getByRole("link", { name: "Keys" }).click();
    await page.locator("#key-name").fill("from the page");
    await page.locator("#key-expires").fill("2020-01-01");
    await page.getByRole("button", { name: "Create key" }).click();
    await page.locator("#key-form-error").getByText("must lie in the future").waitFor(slow);
    expect(await page.locator("#key-expires").getAttribute("aria-invalid")).toBe("true");
    await page.locator("#key-expires").fill("");
    await page.getByRole("button", { name: "Create key" }).click();
    const secret = await page.locator("#secret-value").inputValue(slow);
    const models = () => fetch(`${snug.address}/v1/models`, { headers: { authorization: `Bearer ${secret}` } });
    expect((await models()).status).toBe(200);
    const row = page.locator("tr", { hasText: "from the page" });
    await row.getByRole("button").click();
    await page.locator("dialog").getByRole("button", { name: "Keep" }).click();
    expect((await models()).status).toBe(200);
    await row.getByRole("button").click();
    await page.locator("dialog").getByRole("button", { name: "Revoke" }).click();
    await row.getByText("revoked").waitFor(slow);
    expect((await models()).status).toBe(401);
    await page.reload();
    expect(await page.content()).not.toContain(secret);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it("draws the ledger: the chart has colour, and its legend says what the ledger says", async () => {
    const { page, problems } = await openAdmin(browser, snug.address);
    await signIn(page, snug.key);
    await page.goto(`${snug.address}/admin/usage?range=day`);
    const legend = page.locator(".chart").first().locator(".u-series", { hasText: "endless" });
    await legend.waitFor(slow);
    const { totals } = (await api("/v1/usage?group=model")) as { totals: { requests: number } };
    expect(totals.requests).toBeGreaterThan(0);
    expect(await legend.locator(".u-value").innerText()).toBe(String(totals.requests));
    expect(await page.locator("[data-total]").getAttribute("data-total")).toBe(String(totals.requests));
    const times = page.locator(".chart.low .u-series");
    expect(await times.locator(".u-label").allInnerTexts()).toEqual(expect.arrayContaining(["p50", "p95", "p99"]));
    expect((await times.locator(".u-value").allInnerTexts()).join("")).toBe("");
    const colours = await page.locator(".chart canvas").first().evaluate(countColours);
    expect(colours).toBeGreaterThan(2);
    const [file] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "CSV" }).click()]);
    expect(file.suggestedFilename()).toBe("snug-usage.csv");
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it("speaks Chinese to those who ask for it, and to those who switch", async () => {
    const { page } = await openAdmin(browser, snug.address, { locale: "zh-CN" });
    await page.getByRole("heading", { name: "登录" }).waitFor(slow);
    await signIn(page, snug.key);
    await page.getByRole("heading", { name: "实时" }).waitFor(slow);
    expect(await page.locator("html").getAttribute("lang")).toBe("zh-CN");
    await page.getByRole("link", { name: "密钥" }).click();
    await page.locator("#key-name").fill("钥");
    await page.locator("#key-expires").fill("2020-01-01");
    await page.getByRole("button", { name: "创建密钥" }).click();
    await page.locator("#key-form-error").getByText("“有效期”填写有误").waitFor(slow);
    await page.getByText("English").click();
    await page.getByRole("heading", { name: "Keys" }).waitFor(slow);
    await page.context().close();
  });

  it("is dark where the system is, and stays as chosen", async () => {
    const { page } = await openAdmin(browser, snug.address, { colorScheme: "dark" });
    const ground = () => page.evaluate("getComputedStyle(document.body).backgroundColor");
    const dark = await ground();
    await page.locator("[data-theme-button]").click();
    await expect.poll(ground, slow).not.toBe(dark);
    await page.reload();
    expect(await ground()).not.toBe(dark);
    await page.locator("[data-theme-button]").click();
    expect(await ground()).toBe(dark);
    await page.context().close();
  });

  it("fits a phone without sideways scrolling, and works by keyboard", async () => {
    const viewport = { width: 360, height: 740 };
    const { page } = await openAdmin(browser, snug.address, { viewport, isMobile: true, hasTouch: true });
    expect(await overflow(page)).toBe(0);
    // The key field has the focus when the page opens.
    await page.keyboard.type(snug.key);
    await page.keyboard.press("Enter");
    await page.locator("#live").waitFor(slow);
    await page.keyboard.press("Tab");
    expect(await page.evaluate("document.activeElement.className")).toBe("skip");
    for (const path of ["/admin", "/admin/usage?range=month&by=user", "/admin/keys", "/admin/engines"]) {
      await page.goto(`${snug.address}${path}`);
      expect(await overflow(page), path).toBe(0);
    }
    await page.context().close();
  });
});

/** Runs in the page: how many different colours a canvas shows. */
function countColours(element: unknown): number {
  const canvas = element as {
    width: number;
    height: number;
    getContext(kind: "2d"): { getImageData(x: number, y: number, w: number, h: number): { data: Uint8ClampedArray } };
  };
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const seen = new Set<string>();
  for (let i = 0; i < data.length; i += 4) {
    if (data[i + 3] === 255) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
  }
  return seen.size;
}
