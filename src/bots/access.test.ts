import { describe, expect, test } from "vitest";
import { type AccessList, isAllowed, NO_LIST } from "./access.ts";
import type { Asker, Whereabouts } from "./question.ts";

const asker: Asker = { id: "ann", name: "Ann", roleIds: ["staff"], isAdmin: false, isManager: false };
const channel: Whereabouts = { source: "discord", serverId: "lab", channelId: "general", direct: false };
const thread: Whereabouts = { ...channel, channelId: "talk", parentChannelId: "general" };
const direct: Whereabouts = { source: "discord", channelId: "dm", direct: true };

const allowed = (allow: Partial<AccessList>, deny: Partial<AccessList>, where = channel) =>
  isAllowed({ allow: { ...NO_LIST, ...allow }, deny: { ...NO_LIST, ...deny } }, asker, where);

describe("isAllowed", () => {
  test("without lists everybody may ask everywhere", () => {
    expect([channel, thread, direct].map((where) => allowed({}, {}, where))).toEqual([true, true, true]);
  });

  test("a denial decides, whatever else is allowed", () => {
    expect(allowed({ users: ["ann"] }, { roles: ["staff"] })).toBe(false);
    expect(allowed({}, { servers: ["lab"] })).toBe(false);
    expect(allowed({}, { channels: ["general"] }, thread)).toBe(false);
    expect(allowed({}, { users: ["ann"] }, direct)).toBe(false);
  });

  test("listed places leave the others out, threads count as their channel", () => {
    expect(allowed({ channels: ["other"] }, {})).toBe(false);
    expect(allowed({ channels: ["general"] }, {}, thread)).toBe(true);
    expect(allowed({ channels: ["other"], servers: ["lab"] }, {})).toBe(true);
    expect(allowed({ channels: ["other"] }, {}, direct)).toBe(true);
  });

  test("listed people leave the others out, also in direct messages", () => {
    expect(allowed({ roles: ["staff"] }, {})).toBe(true);
    expect(allowed({ users: ["bob"] }, {}, direct)).toBe(false);
    expect(allowed({ users: ["bob"], roles: ["staff"] }, {}, direct)).toBe(true);
  });
});
