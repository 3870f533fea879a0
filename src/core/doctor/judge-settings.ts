/** Database, settings, ports, clock, tokens, and whether the places Snug talks to can be reached. */
import { formatDuration } from "../units.ts";
import type { Judgement, PlaceFacts, PortFacts, Sentences, SettingFacts, TokenFacts } from "./facts.ts";

/** Slack refuses what was signed five minutes ago; certificates and quotas want it closer. */
const clockMsMax = 30_000;
const clockMsRefused = 240_000;

export function judgeSettings(facts: Partial<SettingFacts>): Judgement[] {
  const { sqliteProblem, settingsProblem, ports = [], tokens = [], places = [], clockAheadMs } = facts;
  return [
    ...("sqliteProblem" in facts ? [judgeSqlite(sqliteProblem)] : []),
    ...(settingsProblem === undefined ? [] : [wrongSettings(settingsProblem)]),
    ...ports.map(judgePort),
    ...tokens.map(judgeToken),
    // What nothing is set up for is missed by nobody.
    ...places.filter(({ place, needed, reached }) => place === "api" || needed || reached).map(judgePlace),
    ...(places.length === 0 ? [] : [judgeClock(clockAheadMs)]),
  ];
}

function judgeSqlite(problem: string | undefined): Judgement {
  if (problem === undefined) {
    return { check: "sqlite", verdict: "ok", text: { en: "database library loads", zh: "数据库库可用" } };
  }
  const remedy = { en: "Run: npm rebuild better-sqlite3", zh: "请运行：npm rebuild better-sqlite3" };
  return { check: "sqlite", verdict: "problem", text: { en: problem, zh: problem }, remedy };
}

function wrongSettings(problem: string): Judgement {
  return {
    check: "settings",
    verdict: "problem",
    text: { en: problem, zh: problem },
    remedy: {
      en: "Correct them in .env; .env.example explains each.",
      zh: "请在 .env 中改正，说明见 .env.example。",
    },
  };
}

const portTexts: Record<PortFacts["state"], (port: string) => Sentences> = {
  free: (port) => ({ en: `port ${port} is free`, zh: `端口 ${port} 空闲` }),
  snug: (port) => ({ en: `port ${port} is Snug's, running now`, zh: `端口 ${port} 正由 Snug 使用` }),
  taken: (port) => ({ en: `port ${port} is taken by another program`, zh: `端口 ${port} 被其他程序占用` }),
  forbidden: (port) => ({ en: `port ${port} may not be used by this user`, zh: `当前用户不能使用端口 ${port}` }),
};

function judgePort({ setting, port, state }: PortFacts): Judgement {
  const text = portTexts[state](String(port));
  if (state === "free" || state === "snug") return { check: "port", verdict: "ok", text };
  const above = state === "forbidden" ? { en: " above 1023", zh: "（大于 1023）" } : { en: "", zh: "" };
  return {
    check: "port",
    verdict: "problem",
    text,
    remedy: {
      en: `Set ${setting} to another port${above.en}, or end the other program.`,
      zh: `请把 ${setting} 改为其他端口${above.zh}，或结束占用它的程序。`,
    },
  };
}

function judgeToken({ setting, form, expected }: TokenFacts): Judgement {
  if (form === "sound") {
    return { check: "token", verdict: "ok", text: { en: `${setting} has the right form`, zh: `${setting} 格式正确` } };
  }
  const texts: Record<Exclude<TokenFacts["form"], "sound">, Sentences> = {
    spaces: { en: `${setting} has spaces in it`, zh: `${setting} 中有空格` },
    quotes: { en: `${setting} has quotation marks in it`, zh: `${setting} 中有引号` },
    malformed: { en: `${setting} does not look like one`, zh: `${setting} 格式不对` },
    incomplete: { en: `${setting} is not enough`, zh: `只有 ${setting} 不够` },
  };
  const remedies: Sentences =
    form === "incomplete"
      ? { en: `It also needs ${expected}.`, zh: `还需要 ${expected}。` }
      : { en: `Copy it again: it should look like ${expected}.`, zh: `请重新复制：应形如 ${expected}。` };
  return { check: "token", verdict: "problem", text: texts[form], remedy: remedies };
}

const placeNames: Record<PlaceFacts["place"], Sentences> = {
  api: { en: "the API", zh: "API" },
  discord: { en: "Discord", zh: "Discord" },
  slack: { en: "Slack", zh: "Slack" },
};

const placeRemedies: Record<PlaceFacts["place"], Sentences> = {
  api: { en: "Start it: snug start", zh: "请启动：snug start" },
  discord: {
    en: "Check the network, the proxy and the firewall; without it the Discord bot is silent, all else works.",
    zh: "请检查网络、代理和防火墙；连不上时只有 Discord 机器人不能用。",
  },
  slack: {
    en: "Check the network, the proxy and the firewall; without it the Slack bot is silent, all else works.",
    zh: "请检查网络、代理和防火墙；连不上时只有 Slack 机器人不能用。",
  },
};

/** Being offline is no fault of the machine, so it is a warning at most. */
function judgePlace({ place, url, reached, tookMs, reason }: PlaceFacts): Judgement {
  const name = placeNames[place];
  if (reached) {
    const took = tookMs === undefined ? "" : ` (${formatDuration(tookMs)})`;
    return {
      check: place,
      verdict: "ok",
      text: { en: `${name.en} answers at ${url}${took}`, zh: `${url} 的 ${name.zh} 有回应${took}` },
    };
  }
  const why = reason === undefined ? "" : `: ${reason}`;
  return {
    check: place,
    verdict: "warning",
    text: {
      en: `${name.en} does not answer at ${url}${why}`,
      zh: `${url} 的 ${name.zh} 没有回应${why}`,
    },
    remedy: placeRemedies[place],
  };
}

function judgeClock(aheadMs: number | undefined): Judgement {
  if (aheadMs === undefined) {
    return {
      check: "clock",
      verdict: "warning",
      text: { en: "nobody could be asked for the time", zh: "无法与外界核对时间" },
      remedy: {
        en: "Run it again with a network; signatures and certificates need a clock that is right.",
        zh: "联网后请再运行一次；签名和证书需要正确的时间。",
      },
    };
  }
  const off = formatDuration(Math.abs(aheadMs));
  if (Math.abs(aheadMs) <= clockMsMax) {
    return { check: "clock", verdict: "ok", text: { en: "the clock is right", zh: "时间正确" } };
  }
  const text = {
    en: `the clock is ${off} ${aheadMs > 0 ? "ahead" : "behind"}`,
    zh: `时间${aheadMs > 0 ? "快了" : "慢了"} ${off}`,
  };
  const remedy = {
    en: "Set it by network time (timedatectl set-ntp true); Slack refuses what is five minutes off.",
    zh: "请用网络时间校准（timedatectl set-ntp true）；相差五分钟 Slack 就会拒绝。",
  };
  return { check: "clock", verdict: Math.abs(aheadMs) > clockMsRefused ? "problem" : "warning", text, remedy };
}
