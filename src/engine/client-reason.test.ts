import { describe, expect, test } from "vitest";
import { AppError } from "../core/errors.ts";
import { unavailableBecause, withoutPaths } from "./client-reason.ts";

describe("a reason for clients", () => {
  test.each([
    [
      "There is no model file at /home/ann/models/a.gguf; check the path.",
      "There is no model file at a.gguf; check the path.",
    ],
    ['The file "/srv/x y/b.gguf" is cut.', 'The file "b.gguf" is cut.', ["/srv/x y/b.gguf"]],
    ["It lies at C:\\models\\ann\\c.gguf.", "It lies at c.gguf."],
    ["Nothing at /data.", "Nothing at data."],
    [
      "Use 1/2 of it, hf:owner/repo, or https://hub.test/owner/repo.",
      "Use 1/2 of it, hf:owner/repo, or https://hub.test/owner/repo.",
    ],
    ["Slots 4/4 and tokens/s stay.", "Slots 4/4 and tokens/s stay."],
  ])("keeps the sentence and drops folders: %s", (message, expected, paths: string[] = []) => {
    expect(withoutPaths(message, paths)).toBe(expected);
  });

  test("is retryable for the client and names the true code", () => {
    const reason = new AppError("model_not_found", "There is no model file at /root/secret/a.gguf; check the path.");
    const error = unavailableBecause(reason);
    expect(error).toMatchObject({ code: "engine_unavailable", details: { reason: "model_not_found" } });
    expect(error.message).toBe("No model is loaded: There is no model file at a.gguf; check the path.");
    expect(JSON.stringify(error.toFacts())).not.toContain("secret");
  });
});
