/** The command line as data: names, options, help. What the commands do is handed in. */
import { Argument, Command, InvalidArgumentError, Option } from "commander";
import type { Locale } from "../core/errors.ts";
import { addCompareCommands, type CompareActions } from "./compare.ts";
import type { DeployOptions } from "./deploy.ts";
import { localizeHelp } from "./help-texts.ts";
import type { KeyCreateOptions, KeyListOptions } from "./keys.ts";
import { addModelsCommands, type ModelsActions } from "./models.ts";

export interface StartOptions {
  port?: number;
  host?: string;
  model?: string;
  /** As typed: "6GiB". */
  vramLimit?: string;
}

export interface EngineOptions extends StartOptions {
  token?: string;
  /** Addresses of APIs to dial. */
  connect?: string[];
  linkToken?: string;
  name?: string;
}

export interface ChatCommandOptions {
  model?: string;
  system?: string;
  maxTokens?: number;
  temperature?: number;
  seed?: number;
  url?: string;
  json?: boolean;
}

export interface FitsOptions {
  json?: boolean;
  batch?: boolean;
  /** Every tool's settings instead of Snug's alone. */
  launch?: boolean;
  svg?: string;
  png?: string;
  /** File of speeds measured on the machine asked about. */
  measured?: string;
  lang?: Locale;
}

export interface DoctorOptions {
  json?: boolean;
  /** What the machine has learned, instead of how it is. */
  profile?: boolean;
  resetProfile?: boolean;
}

export interface BotRunOptions {
  api?: string;
  key?: string;
}

export interface RegisterOptions {
  /** Where Discord shall send interactions from now on; "off" gives them back to the gateway. */
  endpoint?: string;
}

export interface ManifestOptions {
  requestUrl?: string;
}

/** Each resolves to the process's exit code. */
export interface CliActions extends ModelsActions, CompareActions {
  start(options: StartOptions): Promise<number>;
  engine(options: EngineOptions): Promise<number>;
  chat(prompt: string, options: ChatCommandOptions): Promise<number>;
  fits(query: string, options: FitsOptions): Promise<number>;
  doctor(options: DoctorOptions): Promise<number>;
  runBot(platform: "discord" | "slack", options: BotRunOptions): Promise<number>;
  registerDiscord(options: RegisterOptions): Promise<number>;
  slackManifest(options: ManifestOptions): Promise<number>;
  deploy(options: DeployOptions): Promise<number>;
  createKey(options: KeyCreateOptions): Promise<number>;
  listKeys(options: KeyListOptions): Promise<number>;
  revokeKey(id: string): Promise<number>;
}

const texts = {
  en: {
    about: "Put a large language model on a small GPU, and share it.",
    version: "output the version number",
    start: "run the API, the engine and the database",
    engine: "run only the engine, for an API on another machine",
    chat: "ask one question; the answer goes to stdout",
    fits: 'what fits: "13b 6gb", "qwen3-8b 8gb ctx 16k", "6gb", "70b"',
    doctor: "check GPU, driver, memory, disk, ports, clock, tokens and network, each with a remedy",
    profile: "show what this machine has learned of its memory and speed",
    resetProfile: "forget what was learned",
    port: "port to listen on (PORT)",
    host: "address to listen on (SNUG_HOST)",
    model: "model name, GGUF path or URL (SNUG_MODEL)",
    vramLimit: "most VRAM to take of each GPU, such as 6GiB (SNUG_VRAM_LIMIT)",
    token: "token callers must send (SNUG_ENGINE_TOKEN)",
    connect: "dial these APIs instead of listening, such as wss://snug.example.workers.dev (SNUG_CONNECT)",
    linkToken: "API key with the scope engine (SNUG_LINK_TOKEN)",
    engineName: "what the engine is called there; the machine's name unless given (SNUG_ENGINE_NAME)",
    prompt: "the question; - reads it from stdin",
    system: "system prompt",
    maxTokens: "most tokens to answer with",
    temperature: "0 is the most likely text, 2 the wildest",
    seed: "same seed, same text",
    url: "a running Snug or other OpenAI-compatible server, with SNUG_API_KEY",
    json: "print JSON",
    batch: "read one JSON request per line from stdin, write one answer per line",
    launch: "settings for other tools too: llama.cpp, Ollama, LM Studio, Transformers, vLLM",
    svg: "write the picture as SVG",
    png: "write the picture as PNG",
    measured: "speeds measured on this machine, as JSON (docs/fits-batch.md)",
    lang: "language of the answer",
    deploy: "put the API on Cloudflare, step by step; what is there stays",
    dryRun: "say what would be run, and run nothing",
    deployEnv: "one of wrangler.toml's environments",
    deployBots: "the chat bots' Worker too (docs/edge-bots.md)",
    keys: "make, list and revoke API keys",
    keysCreate: "make a key; its secret is shown this once",
    keysList: "list the keys",
    keysRevoke: "refuse a key from now on",
    keyName: "what the key is for",
    keyScopes: "chat, fits, usage, engine, compare, admin; chat, fits and usage unless given",
    keyModels: "models it may ask, separated by commas",
    keyExpires: "12h, 30d, 4w or a date",
    keyWeight: "its share of a busy engine, 0.1 to 10; 1 unless given",
    keyPriority: "batch lets everybody else go first",
    keyId: "id of the key, as the list shows it",
    keyLimit: "most of these for the whole key",
    keyUserLimit: "most of these for each end user",
    bots: "the chat bots on their own; `snug start` runs them too when their tokens are set",
    botsRun: "run this bot alone, in front of an API elsewhere",
    botsApi: "address of the API (default: this machine's)",
    botsKey: "API key with the scopes chat and usage, and compare for /compare (SNUG_API_KEY)",
    botsRegister: "write the slash commands, by difference, and end",
    botsManifest: "print the app manifest to paste into Slack",
    botsRequestUrl: "public address Slack sends to; left out for Socket Mode",
    botsEndpoint: "have Discord send interactions to this address by HTTP (off: by the gateway again)",
    whole: "a whole number, please",
    number: "a number, please",
  },
  zh: {
    about: "把大模型装进小显卡，并分享给大家。",
    version: "显示版本号",
    start: "运行 API、引擎和数据库",
    engine: "只运行引擎，供另一台机器上的 API 使用",
    chat: "问一个问题，回答输出到 stdout",
    fits: "查看能跑什么：“13b 6gb”、“qwen3-8b 8gb ctx 16k”、“6gb”、“70b”",
    doctor: "检查显卡、驱动、内存、磁盘、端口、时间、令牌和网络，并给出解决办法",
    profile: "显示本机学到的内存和速度数据",
    resetProfile: "忘记学到的数据",
    port: "监听端口（PORT）",
    host: "监听地址（SNUG_HOST）",
    model: "模型名称、GGUF 路径或网址（SNUG_MODEL）",
    vramLimit: "每块 GPU 最多使用的显存，如 6GiB（SNUG_VRAM_LIMIT）",
    token: "调用者须提供的令牌（SNUG_ENGINE_TOKEN）",
    connect: "不监听端口，主动连接这些 API，如 wss://snug.example.workers.dev（SNUG_CONNECT）",
    linkToken: "带 engine 权限的 API 密钥（SNUG_LINK_TOKEN）",
    engineName: "引擎在 API 中的名称，默认为本机名（SNUG_ENGINE_NAME）",
    prompt: "问题；写 - 则从 stdin 读取",
    system: "系统提示词",
    maxTokens: "回答的最多 token 数",
    temperature: "0 最稳定，2 最发散",
    seed: "相同的种子得到相同的文本",
    url: "正在运行的 Snug 或其他 OpenAI 兼容服务，密钥用 SNUG_API_KEY",
    json: "输出 JSON",
    batch: "从 stdin 每行读一个 JSON 请求，每行写一个回答",
    launch: "同时给出其他工具的设置：llama.cpp、Ollama、LM Studio、Transformers、vLLM",
    svg: "把图保存为 SVG",
    png: "把图保存为 PNG",
    measured: "本机实测速度的 JSON 文件（docs/fits-batch.md）",
    lang: "回答所用语言",
    deploy: "把 API 部署到 Cloudflare，逐步进行，已有的保持不变",
    dryRun: "只显示将要执行的命令，不执行",
    deployEnv: "wrangler.toml 中的环境",
    deployBots: "同时部署聊天机器人的 Worker（docs/edge-bots.md）",
    keys: "创建、查看和吊销 API 密钥",
    keysCreate: "创建密钥；密钥内容只显示这一次",
    keysList: "列出密钥",
    keysRevoke: "立即停用密钥",
    keyName: "密钥的用途",
    keyScopes: "chat、fits、usage、engine、compare、admin；默认 chat、fits、usage",
    keyModels: "可用的模型，用逗号分隔",
    keyExpires: "12h、30d、4w 或日期",
    keyWeight: "引擎繁忙时所占的份额，0.1 到 10，默认 1",
    keyPriority: "batch 表示让其他人先用",
    keyId: "密钥 ID，见列表",
    keyLimit: "整个密钥的上限",
    keyUserLimit: "每个最终用户的上限",
    bots: "单独运行聊天机器人；设置令牌后 `snug start` 也会运行它们",
    botsRun: "只运行这个机器人，API 在别处",
    botsApi: "API 地址（默认本机）",
    botsKey: "带 chat 和 usage 权限的 API 密钥，/compare 还需 compare（SNUG_API_KEY）",
    botsRegister: "按差异注册斜杠命令，然后退出",
    botsManifest: "输出应用清单，粘贴到 Slack",
    botsRequestUrl: "Slack 发送请求的公网地址；Socket Mode 不需要",
    botsEndpoint: "让 Discord 通过 HTTP 把交互发送到这个地址（off：恢复使用网关）",
    whole: "请输入整数",
    number: "请输入数字",
  },
} satisfies Record<Locale, Record<string, string>>;

/**
 * @param finish receives the exit code of the command that ran
 */
export function createProgram(
  actions: CliActions,
  version: string,
  locale: Locale,
  finish: (code: number) => void,
): Command {
  const t = texts[locale];
  const whole = (text: string) => {
    if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError(t.whole);
    return Number(text);
  };
  const number = (text: string) => {
    if (text.trim() === "" || !Number.isFinite(Number(text))) throw new InvalidArgumentError(t.number);
    return Number(text);
  };
  const program = new Command("snug").description(t.about).showHelpAfterError();
  program.version(version, "-V, --version", t.version);
  localizeHelp(program, locale);

  program
    .command("start")
    .description(t.start)
    .option("-p, --port <port>", t.port, whole)
    .option("--host <address>", t.host)
    .option("-m, --model <model>", t.model)
    .option("--vram-limit <size>", t.vramLimit)
    .action(async (options: StartOptions) => finish(await actions.start(options)));

  program
    .command("engine")
    .description(t.engine)
    .option("-p, --port <port>", t.port, whole)
    .option("--host <address>", t.host)
    .option("-m, --model <model>", t.model)
    .option("--vram-limit <size>", t.vramLimit)
    .option("--token <token>", t.token)
    .option("--connect <address...>", t.connect)
    .option("--link-token <key>", t.linkToken)
    .option("--name <name>", t.engineName)
    .action(async (options: EngineOptions) => finish(await actions.engine(options)));

  program
    .command("chat")
    .description(t.chat)
    .argument("<prompt...>", t.prompt)
    .option("-m, --model <model>", t.model)
    .option("-s, --system <text>", t.system)
    .option("-n, --max-tokens <count>", t.maxTokens, whole)
    .option("-t, --temperature <number>", t.temperature, number)
    .option("--seed <number>", t.seed, whole)
    .option("--url <address>", t.url)
    .option("--json", t.json)
    .action(async (words: string[], options: ChatCommandOptions) =>
      finish(await actions.chat(words.join(" "), options)),
    );

  program
    .command("fits")
    .description(t.fits)
    .argument("[query...]", t.fits)
    .option("--json", t.json)
    .option("--batch", t.batch)
    .option("--launch", t.launch)
    .option("--svg <file>", t.svg)
    .option("--png <file>", t.png)
    .option("--measured <file>", t.measured)
    .addOption(new Option("--lang <language>", t.lang).choices(["en", "zh"]))
    .action(async (words: string[], options: FitsOptions) => finish(await actions.fits(words.join(" "), options)));

  program
    .command("doctor")
    .description(t.doctor)
    .option("--json", t.json)
    .option("--profile", t.profile)
    .option("--reset-profile", t.resetProfile)
    .action(async (options: DoctorOptions) => finish(await actions.doctor(options)));

  addModelsCommands(program, actions, locale, finish);
  addCompareCommands(program, actions, locale, finish);

  const bots = program.command("bots").description(t.bots);
  for (const platform of ["discord", "slack"] as const) {
    bots
      .command(platform)
      .description(t.botsRun)
      .option("--api <address>", t.botsApi)
      .option("--key <key>", t.botsKey)
      .action(async (options: BotRunOptions) => finish(await actions.runBot(platform, options)));
  }
  bots
    .command("register")
    .description(t.botsRegister)
    .addArgument(new Argument("<platform>").choices(["discord"]))
    .option("--endpoint <address>", t.botsEndpoint)
    .action(async (_platform: string, options: RegisterOptions) => finish(await actions.registerDiscord(options)));
  bots
    .command("manifest")
    .description(t.botsManifest)
    .addArgument(new Argument("<platform>").choices(["slack"]))
    .option("--request-url <address>", t.botsRequestUrl)
    .action(async (_platform: string, options: ManifestOptions) => finish(await actions.slackManifest(options)));

  program
    .command("deploy")
    .description(t.deploy)
    .option("--dry-run", t.dryRun)
    .option("--env <name>", t.deployEnv)
    .option("--bots", t.deployBots)
    .option("--json", t.json)
    .action(async (options: DeployOptions) => finish(await actions.deploy(options)));

  const keys = program.command("keys").description(t.keys);
  const create = keys
    .command("create")
    .description(t.keysCreate)
    .requiredOption("-n, --name <name>", t.keyName)
    .option("-s, --scopes <list>", t.keyScopes)
    .option("--models <list>", t.keyModels)
    .option("--expires <when>", t.keyExpires)
    .option("--weight <number>", t.keyWeight, number)
    .addOption(new Option("--priority <word>", t.keyPriority).choices(["interactive", "batch"]))
    .option("--json", t.json);
  const limits = ["requests-per-minute", "requests-per-day", "tokens-per-minute", "tokens-per-day", "concurrent"];
  for (const limit of limits) create.option(`--${limit} <count>`, t.keyLimit, whole);
  for (const limit of limits) create.option(`--user-${limit} <count>`, t.keyUserLimit, whole);
  create.action(async (options: KeyCreateOptions) => finish(await actions.createKey(options)));
  keys
    .command("list")
    .description(t.keysList)
    .option("--json", t.json)
    .action(async (options: KeyListOptions) => finish(await actions.listKeys(options)));
  keys
    .command("revoke")
    .description(t.keysRevoke)
    .argument("<id>", t.keyId)
    .action(async (id: string) => finish(await actions.revokeKey(id)));

  return program;
}
