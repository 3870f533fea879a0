import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { HttpBodyReader } from "../http/transport.ts";
import { sendOverHttp } from "./http-send.ts";

let server: Server;
let url: string;
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeEach(async () => {
  server = createServer((request, response) => answer(request, response));
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/chat/completions`;
});
afterEach(() => {
  server.closeAllConnections();
  server.close();
});

const ask = (signal = new AbortController().signal) =>
  sendOverHttp(url, { method: "POST", headers: { "x-a": "b" }, body: "größe", signal, redirect: "manual" });

async function readAll(reader: HttpBodyReader): Promise<string> {
  const parts: Uint8Array[] = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return Buffer.concat(parts).toString();
    parts.push(value!);
  }
}

describe("a request over Node's own sockets", () => {
  it("carries method, headers and body, and brings back status, headers and body", async () => {
    answer = async (request, response) => {
      const body = Buffer.concat(await request.toArray()).toString();
      response.writeHead(201, { "x-c": "d", "set-cookie": ["e", "f"] });
      response.write(`${request.method} ${request.headers["x-a"]} `);
      response.end(body);
    };
    const reply = await ask();
    expect(reply).toMatchObject({ ok: true, status: 201 });
    expect(reply.headers.get("x-c")).toBe("d");
    expect(reply.headers.get("set-cookie")).toBe("e, f");
    expect(reply.headers.get("x-none")).toBeNull();
    expect(await readAll(reply.body!.getReader())).toBe("POST b größe");
  });

  it("follows no redirect", async () => {
    answer = (_request, response) => response.writeHead(302, { location: "http://127.0.0.1:9/" }).end();
    expect(await ask()).toMatchObject({ ok: false, status: 302 });
  });

  it("rejects where nothing listens", async () => {
    server.close();
    await expect(ask()).rejects.toMatchObject({ code: "ECONNREFUSED" });
  });

  it.each(["before the head", "in the middle of the body"])("aborted %s closes the connection", async (when) => {
    const gone = new Promise<void>((resolve) => {
      answer = (_request, response) => {
        response.on("close", resolve);
        if (when !== "before the head") response.writeHead(200).write("begun");
        else arrived();
      };
    });
    let arrived = () => {};
    const there = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const leave = new AbortController();
    const asking = ask(leave.signal);
    if (when === "before the head") {
      await there;
      leave.abort();
      await expect(asking).rejects.toThrow();
    } else {
      const reader = (await asking).body!.getReader();
      await reader.read();
      leave.abort();
      await expect(readAll(reader)).rejects.toThrow();
    }
    await gone;
  });

  it("does not begin when its signal has aborted before", async () => {
    answer = () => expect.unreachable();
    await expect(ask(AbortSignal.abort())).rejects.toThrow();
  });

  it("that breaks off in the middle rejects instead of ending", async () => {
    answer = (_request, response) => {
      response.writeHead(200).write("half");
      setImmediate(() => response.destroy());
    };
    const reader = (await ask()).body!.getReader();
    await expect(readAll(reader)).rejects.toThrow();
  });

  it("on a connection that the server had closed is sent once more", async () => {
    let asked = 0;
    answer = (request, response) => {
      // The second request meets a server that hangs up at once, as one whose patience with an idle connection ended.
      if (++asked === 2) request.socket.destroy();
      else request.resume().on("end", () => response.end(String(asked)));
    };
    expect(await readAll((await ask()).body!.getReader())).toBe("1");
    expect(await readAll((await ask()).body!.getReader())).toBe("3");
  });

  it("waits with reading when nobody takes what has come", async () => {
    let sent = 0;
    const part = Buffer.alloc(64 * 1024);
    answer = (_request, response) => {
      const push = () => {
        for (sent++; response.write(part); sent++);
      };
      response.on("drain", push);
      response.writeHead(200);
      push();
    };
    const reader = (await ask()).body!.getReader();
    await reader.read();
    const seen: number[] = [];
    // Sockets hold some megabytes; then it stands still.
    await expect.poll(() => seen.at(-1) === sent || !seen.push(sent), { interval: 200, timeout: 20_000 }).toBe(true);
    expect(sent).toBeLessThan(1000);
    await reader.cancel();
  });
});
