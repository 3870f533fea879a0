/** What a stranger or a broken client may send to the API: right code, a sentence that helps, and the server lives on. */
import { request as httpRequest } from "node:http";
import { connect } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openApi, type TestApi } from "../../test/support/api.ts";
import { listenLocally } from "../../test/support/engine-server.ts";

let api: TestApi;

beforeEach(async () => {
  api = await openApi();
});

afterEach(async () => {
  // Whatever was sent, the server still answers, and nothing was written for what was not admitted.
  expect((await api.app.request("/health")).status).toBe(200);
  expect(await api.rows()).toEqual([]);
  expect(api.engine.requests).toEqual([]);
  api.close();
});

const json = { "content-type": "application/json" };
const post = (body: string | Uint8Array<ArrayBuffer>, headers: Record<string, string> = json) =>
  api.request("/v1/chat/completions", { method: "POST", body, headers });

interface OpenAiError {
  error: { message: string; type: string; param: string | null; code: string };
}

async function refusal(response: Response): Promise<OpenAiError["error"]> {
  const { error } = (await response.json()) as OpenAiError;
  expect(error.message).toMatch(/^[^\n]{10,300}\.$/);
  return error;
}

describe("a chat body", () => {
  const valid = '{"model":"fake","messages":[{"role":"user","content":"Hi"}]}';
  it.each([
    ["nothing", ""],
    ["broken JSON", '{"model":'],
    ["two documents", `${valid}${valid}`],
    ["null", "null"],
    ["a list", "[]"],
    ["broken UTF-8", Uint8Array.of(0x22, 0xc3, 0x28, 0x22)],
    ["nesting 200,000 deep", `${"[".repeat(200_000)}${"]".repeat(200_000)}`],
    ["an unclosed nesting 200,000 deep", '{"a":'.repeat(200_000)],
    ["an empty list of messages", '{"model":"fake","messages":[]}'],
    ["negative max_tokens", valid.replace("{", '{"max_tokens":-1,')],
    ["a number beyond all numbers", valid.replace("{", '{"temperature":1e999,')],
    ["a prototype for its fields", '{"__proto__":{"model":"fake","messages":[{"role":"user","content":"Hi"}]}}'],
  ])("that is %s is an invalid request", async (_name, body) => {
    const response = await post(body);
    expect(response.status).toBe(400);
    expect((await refusal(response)).code).toBe("invalid_request");
  });

  it("is never quoted in the refusal", async () => {
    expect((await refusal(await post('{"osmium": oops'))).message).not.toContain("osmium");
  });

  it.each([
    ["a form", { "content-type": "application/x-www-form-urlencoded" }],
    ["text", { "content-type": "text/plain" }],
    ["something that only begins like JSON", { "content-type": "application/jsonp" }],
  ])("sent as %s is refused with the type to send", async (_name, headers) => {
    const error = await refusal(await post(valid, headers));
    expect(error).toMatchObject({ code: "invalid_request", message: expect.stringContaining("application/json") });
  });

  it("that announces 20 MB is refused unread", async () => {
    let pulled = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          pulled++;
          controller.enqueue(new Uint8Array(65_536));
        },
      },
      { highWaterMark: 0 },
    );
    const headers = {
      ...json,
      "content-length": String(20 * 1024 * 1024),
      authorization: `Bearer ${api.admin.secret}`,
    };
    const asked = new Request("http://local/v1/chat/completions", { method: "POST", body, headers, duplex: "half" });
    const response = await api.app.request(asked);
    expect(response.status).toBe(413);
    expect(await refusal(response)).toMatchObject({ code: "payload_too_large", type: "invalid_request_error" });
    expect(pulled).toBe(0);
  });

  it("that grows beyond the bound without saying so is cut off there", async () => {
    let sent = 0;
    const body = new ReadableStream<Uint8Array>(
      {
        pull(controller) {
          sent += 65_536;
          controller.enqueue(new Uint8Array(65_536));
        },
      },
      { highWaterMark: 0 },
    );
    const headers = { ...json, authorization: `Bearer ${api.admin.secret}` };
    const asked = new Request("http://local/v1/chat/completions", { method: "POST", body, headers, duplex: "half" });
    expect((await api.app.request(asked)).status).toBe(413);
    expect(sent).toBeLessThan(5 * 1024 * 1024);
  });
});

describe("a key", () => {
  const send = (authorization: string | undefined) =>
    api.app.request("/v1/chat/completions", {
      method: "POST",
      body: '{"model":"fake","messages":[{"role":"user","content":"Hi"}]}',
      headers: authorization === undefined ? json : { ...json, authorization },
    });

  it("that is missing, malformed, unknown, huge or revoked gets one and the same answer and leaves no row", async () => {
    const revoked = await api.makeKey(["admin"], { revokedAt: 5 });
    const wrong = [
      undefined,
      "",
      "Bearer",
      "Bearer ",
      "Basic YWRtaW46YWRtaW4=",
      api.admin.secret,
      `Bearer ${api.admin.secret}x`,
      `Bearer ${api.admin.secret.slice(0, -1)}`,
      `Bearer ${api.admin.secret} ${api.admin.secret}`,
      `Bearer ${"x".repeat(100_000)}`,
      "Bearer ' or 1=1 --",
      `Bearer ${revoked.secret}`,
    ];
    const answers = new Set<string>();
    for (const authorization of wrong) {
      const response = await send(authorization);
      expect(response.status, `sent ${authorization?.slice(0, 40)}`).toBe(401);
      expect(response.headers.get("www-authenticate")).toBe('Bearer realm="snug"');
      answers.add(await response.text());
    }
    expect(answers.size).toBe(1);
    expect(JSON.parse([...answers][0]!).error).toMatchObject({
      code: "invalid_api_key",
      type: "authentication_error",
    });
  });

  it("is checked before the body is read", async () => {
    const response = await api.app.request("/v1/chat/completions", { method: "POST", body: "{", headers: json });
    expect(response.status).toBe(401);
  });

  it("appears in no log line", async () => {
    await api.request("/v1/models");
    expect(api.log.length).toBeGreaterThan(0);
    expect(JSON.stringify(api.log)).not.toContain(api.admin.secret);
  });
});

describe("an address", () => {
  it.each([
    ["GET", "/v1/nothing"],
    ["POST", "/v1/models"],
    ["DELETE", "/v1/chat/completions"],
    ["GET", "/v1/chat/completions"],
    ["GET", `/v1/${"x".repeat(5000)}`],
    ["GET", "/v1/%E0%A4%A"],
    ["GET", "/v1/../../etc/passwd%00"],
  ])("%s %s that does not exist is not found", async (method, path) => {
    const response = await api.request(path, { method });
    expect(response.status).toBe(404);
    expect(response.headers.get("content-type")).toMatch(/json/);
  });

  it("under /v1 is not found in OpenAI's form, elsewhere as problem details", async () => {
    expect(await refusal(await api.request("/v1/nothing"))).toMatchObject({ code: "not_found", param: null });
    const elsewhere = await api.request("/wp-login.php");
    expect(elsewhere.headers.get("content-type")).toBe("application/problem+json");
    expect(await elsewhere.json()).toMatchObject({ type: "urn:snug:error:not_found", status: 404 });
  });
});

describe("over a real socket", () => {
  let port: string;
  let close: () => Promise<void>;

  beforeEach(async () => {
    const listening = await listenLocally(api.app.fetch);
    port = new URL(listening.url).port;
    close = listening.close;
  });

  afterEach(() => close());

  it("a body of 20 MB is refused with 413 that the sender can read, before it has sent it all", async () => {
    const size = 20 * 1024 * 1024;
    const headers = { ...json, authorization: `Bearer ${api.admin.secret}`, "content-length": size };
    const answer = await new Promise<{ status: number; body: string; written: number }>((resolve, reject) => {
      const sending = httpRequest({ port, method: "POST", path: "/v1/chat/completions", headers });
      sending.on("response", async (response) => {
        const body = Buffer.concat(await response.toArray()).toString();
        resolve({ status: response.statusCode!, body, written: sending.socket!.bytesWritten });
        sending.destroy();
      });
      sending.on("error", reject);
      // The sender waits for the answer with most of the body still to come, as curl does with Expect: 100-continue.
      sending.write(Buffer.alloc(1024 * 1024, 0x20));
    });
    expect(answer.status).toBe(413);
    expect(JSON.parse(answer.body).error.code).toBe("payload_too_large");
    expect(answer.written).toBeLessThan(2 * 1024 * 1024);
  });

  it("a sender that pushes all 20 MB regardless gets its 413 or a closed connection, and others are served", async () => {
    const outcome = fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: { ...json, authorization: `Bearer ${api.admin.secret}` },
      body: Buffer.alloc(20 * 1024 * 1024, 0x20),
    }).then(
      (response) => response.status,
      () => "closed",
    );
    expect([413, "closed"]).toContain(await outcome);
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  });

  it("garbage and a sender that hangs up in the middle of its body disturb nobody", async () => {
    const talk = (text: string) =>
      new Promise<void>((resolve) => {
        const socket = connect(Number(port), "127.0.0.1", () => socket.write(text, () => socket.destroy()));
        socket.on("close", () => resolve());
      });
    await talk("\x00\x01\x02 GARBAGE\r\n\r\n");
    await talk(
      `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer ${api.admin.secret}\r\ncontent-type: application/json\r\ncontent-length: 5000\r\n\r\n{"model":`,
    );
    expect((await fetch(`http://127.0.0.1:${port}/health`)).status).toBe(200);
  });
});
