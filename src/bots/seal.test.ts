import { expect, test } from "vitest";
import { createSeal, fromBase64, toBase64 } from "./seal.ts";

const secret = "an unlikely secret of more than 32 characters";
const sealWith = (text: string, purpose = "tokens") => createSeal(text, { purpose, setting: "SLACK_TOKEN_KEY" });

test("what is sealed opens again, shows nothing of itself and never looks the same twice", async () => {
  const seal = sealWith(secret);
  const [one, other] = await Promise.all([seal.close("xoxb-秘密", "T01"), seal.close("xoxb-秘密", "T01")]);
  expect(one).not.toBe(other);
  expect(one).not.toContain("xoxb");
  expect(await sealWith(secret).open(one, "T01")).toBe("xoxb-秘密");
});

test("another key, purpose or owner opens nothing, and the error names the setting", async () => {
  const sealed = await sealWith(secret).close("xoxb-1", "T01");
  const refused = { code: "invalid_configuration", message: expect.stringMatching(/T01.*SLACK_TOKEN_KEY/) };
  await expect(sealWith(`${secret}!`).open(sealed, "T01")).rejects.toMatchObject(refused);
  await expect(sealWith(secret, "states").open(sealed, "T01")).rejects.toMatchObject(refused);
  await expect(sealWith(secret).open(sealed, "T02")).rejects.toMatchObject({ code: "invalid_configuration" });
});

test("one changed bit, a cut text and a text of another kind are refused", async () => {
  const seal = sealWith(secret);
  const sealed = await seal.close("xoxb-1", "T01");
  const [mark, iv, body] = sealed.split(".") as [string, string, string];
  const bytes = fromBase64(body);
  bytes[0]! ^= 1;
  for (const wrong of [[mark, iv, toBase64(bytes)].join("."), sealed.slice(0, -8), "v2.a.b", "", "xoxb-1"]) {
    await expect(seal.open(wrong, "T01")).rejects.toMatchObject({ code: "invalid_configuration" });
  }
});
