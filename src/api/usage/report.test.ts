import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../../test/support/api.ts";
import type { UsageGroups } from "./report.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(() => api.close());

const groups = async (query: string, init: RequestInit = {}) =>
  (await (await api.request(`/v1/usage?${query}`, init)).json()) as UsageGroups;

describe("groups", () => {
  it("are given with totals and quantiles of what was measured", async () => {
    for (const user of ["ann", "ann", "bob"]) await (await api.chat({ user })).text();
    await (await api.chat({ model: "none" })).text();
    const report = await groups("group=user&limit=2");
    expect(report).toMatchObject({
      group: "user",
      groupCount: 3,
      totals: { requests: 4, failed: 1, completionTokens: 15 },
    });
    expect(report.groups.map(({ value, requests, completionTokens }) => [value, requests, completionTokens])).toEqual([
      ["ann", 2, 10],
      ["", 1, 0],
    ]);
    expect(report.groups[0]!.timeToFirstTokenMs).toMatchObject({ count: 2 });
    const [today] = (await groups("group=day")).groups;
    expect(today).toMatchObject({ value: new Date().toISOString().slice(0, 10), requests: 4 });
    expect((await groups("group=status")).groups.map(({ value }) => value).sort()).toEqual(["completed", "failed"]);
    expect((await groups("group=engine")).groups).toMatchObject([{ value: "fake" }, { value: "" }]);
  });

  it("are a reader's own without admin, whatever key is asked for", async () => {
    await (await api.chat({ user: "ann" })).text();
    const { secret, id } = await api.makeKey(["chat", "usage"]);
    const headers = { authorization: `Bearer ${secret}` };
    await (await api.chat({ user: "bob" }, { headers })).text();
    const own = await groups(`group=user&key=${api.admin.id}`, { headers });
    expect(own.groups.map(({ value }) => value)).toEqual(["bob"]);
    expect((await groups("group=key", { headers })).groups).toMatchObject([{ value: id, requests: 1 }]);
    expect((await groups(`group=user&key=${id}`)).groups.map(({ value }) => value)).toEqual(["bob"]);
  });

  it.each([
    ["group=hour", "group"],
    ["group=day&limit=0", "limit"],
    ["group=day&limit=1001", "limit"],
    ["group=day&since=yesterday", "since"],
    [`group=day&user=${"x".repeat(300)}`, "user"],
    ["limit=many", "limit"],
  ])("by %s are refused, and the parameter is named", async (query, param) => {
    const response = await api.request(`/v1/usage?${query}`);
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ param, detail: expect.stringMatching(/^\w+ must be .*\.$/) });
  });
});

describe("an export", () => {
  it("holds every row, more than a page of them, as CSV and as JSON", async () => {
    const open = { keyId: "k", source: "api", model: "m", stream: true } as const;
    for (let i = 0; i < 1203; i++) await api.usageStore.admit({ ...open, id: `r${i}`, at: 1000 + Math.floor(i / 7) });
    const csv = await (await api.request("/v1/usage/export?format=csv")).text();
    const lines = csv.trimEnd().split("\r\n");
    expect(lines).toHaveLength(1204);
    expect(new Set(lines).size).toBe(1204);
    expect(lines[0]).toMatch(/^time,id,key,source,user,model,/);
    const json = (await (await api.request("/v1/usage/export?format=json")).json()) as { id: string }[];
    expect(new Set(json.map((row) => row.id)).size).toBe(1203);
    expect(await (await api.request("/v1/usage/export?format=json&until=1970-01-01")).json()).toEqual([]);
  });

  it("quotes what needs it and runs nothing in a spreadsheet", async () => {
    for (const user of ['a "b", c', "=cmd()", "@x", "显存\nline"]) await (await api.chat({ user })).text();
    const response = await api.request("/v1/usage/export");
    expect(response.headers.get("content-type")).toBe("text/csv; charset=utf-8");
    const text = await response.text();
    expect(text).toContain(',"a ""b"", c",');
    expect(text).toContain(",'=cmd(),");
    expect(text).toContain(",'@x,");
    expect(text).toContain(',"显存\nline",');
  });

  it("is a reader's own without admin, and refuses other formats", async () => {
    await (await api.chat({ user: "ann" })).text();
    const { secret } = await api.makeKey(["usage"]);
    const headers = { authorization: `Bearer ${secret}` };
    expect(await (await api.request("/v1/usage/export?format=json", { headers })).json()).toEqual([]);
    expect((await api.request("/v1/usage/export?format=xls")).status).toBe(400);
  });
});
