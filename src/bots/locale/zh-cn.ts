import type { Texts } from "./texts.ts";

export const zhCn: Texts = {
  commands: {
    ask: {
      name: "提问",
      description: "向语言模型提问",
      options: {
        prompt: { name: "问题", description: "你想知道什么" },
        model: { name: "模型", description: "由哪个模型回答；不填则用本频道的模型" },
        private: { name: "仅自己可见", description: "只有你能看到回答" },
        file: { name: "文件", description: "随问题一起阅读的文本文件" },
      },
    },
    fits: {
      name: "显存",
      description: "这张显卡放得下这个模型吗？多快？有没有更好的选择",
      options: { query: { name: "内容", description: "模型和显卡，例如：13b 6gb" } },
    },
    compare: {
      name: "对比",
      description: "在这台机器上对比同一模型的多种精度：速度、内存、质量",
      options: {
        model: { name: "模型", description: "/模型列表 里的模型，留空则用本频道的模型" },
        quantizations: { name: "量化", description: "如 f16,q8_0,q4_k_m，留空则用已有的" },
        prompt: { name: "问题", description: "向所有精度提出的问题" },
        force: { name: "强制", description: "即使正在回答别人" },
      },
    },
    models: { name: "模型列表", description: "这里可以回答的模型" },
    model: {
      name: "模型",
      description: "查看或选择本频道的模型",
      options: { name: { name: "名称", description: "/模型列表 里的模型，或填 default 恢复默认" } },
    },
    persona: {
      name: "人设",
      description: "查看、设置或移除模型在本频道的角色说明",
      options: {
        text: { name: "内容", description: "用你自己的话描述角色" },
        remove: { name: "移除", description: "恢复为没有角色" },
      },
    },
    stats: {
      name: "统计",
      description: "所有人的请求数、token 数和速度（管理员）",
      options: { period: { name: "时段", description: "统计多久" } },
    },
    usage: {
      name: "用量",
      description: "你自己的请求数和 token 数",
      options: { period: { name: "时段", description: "统计多久" } },
    },
    forget: { name: "忘记", description: "不再使用你在本频道说过的内容" },
    help: { name: "帮助", description: "我能做什么，怎么提问" },
  },
  askAbout: {
    name: "问问这条消息",
    title: "询问这条消息",
    label: "你的问题",
    placeholder: "留空则请模型解释",
    question: "请解释这条消息。",
    about: "关于这条消息",
  },
  periods: { day: "24 小时", week: "7 天", month: "30 天" },

  thinking: "思考中…",
  queued: (position, seconds) => `⏳ 排队中，第 ${position} 位${seconds === undefined ? "" : `，大约 ${seconds} 秒`}…`,
  preparing: (step, share) =>
    step === "load"
      ? "⏳ 正在加载模型…"
      : `⏳ 正在下载模型${share === undefined ? "" : `，${Math.floor(share * 100)} %`}…`,
  thoughts: "思考过程",
  stopped: "已停止",
  questionDeleted: "已停止：问题被删除",
  interrupted: "已中断：我正在重启，请稍后再问",
  cutAtTokenLimit: "到达 token 上限，已截断",
  cutAtReplyLimit: "已截断：平台会在 15 分钟后关闭私密回复",
  emptyAnswer: "模型没有给出内容。",
  continuedBelow: "下接新消息",
  restFollowsAsFile: (chars) => `仍在书写，已有 ${chars} 个字符；完整内容将以文件发送`,
  wholeAnswerInFile: (chars) => `完整回答（${chars} 个字符）见文件`,
  fileTooLarge: "完整回答太大，无法作为文件发送",
  usingLastMessages: (count) => `参考最近 ${count} 条消息`,
  tokensPerSecond: (rate) => `${rate} token/秒`,
  answerFileDescription: "Markdown 格式的完整回答",

  buttons: { stop: "停止", regenerate: "重新生成", up: "回答得好", down: "回答不好" },
  onlyAskerMayStop: "只有提问者或管理员可以停止这个回答。",
  onlyAskerMayRegenerate: "只有提问者或管理员可以重新生成这个回答。",
  answerOver: "这个回答已经结束了。",
  answerForgotten: "我已经不记得这个问题了，请重新提问。",
  voteNoted: { up: "谢谢，已记为好的回答。", down: "谢谢，已记为不好的回答。" },

  notAllowedHere: "我不能在这里回答你，管理员可以更改设置。",
  statsAdminsOnly: "只有管理员可以查看所有人的统计。你自己的用量请用 /usage。",
  adminsOnly: "只有管理员可以使用这个命令。",
  managersOnly: "只有可以管理本频道的人才能更改。",
  tooOftenUser: (seconds) => `你问得有点快，请在 ${seconds} 秒后再试。`,
  tooOftenChannel: (seconds) => `本频道提问太多，请在 ${seconds} 秒后再试。`,
  stillAnswering: (count) => `我还在回答你的 ${count} 个问题，请等一下，或按“停止”。`,
  restarting: "我正在重启，请稍后再问。",
  emptyQuestion: "没有看到问题。请在我的名字后面写点什么，或使用 /ask。",
  questionTooLong: (charsMax) => `问题太长了，最多 ${charsMax} 个字符。更长的内容可以放在文本文件里。`,
  blockedByPlatform: "本服务器的过滤规则拒绝了这个回答。",

  fileIsPicture: (name) => `我只能阅读文字，而“${name}”是图片。请用文字描述，我会尽力回答。`,
  fileIsDocument: (name) => `我只能阅读纯文本，读不了“${name}”。请把需要的文字复制到 .txt 文件或问题里。`,
  fileIsNotText: (name) => `我只能阅读文本文件，而“${name}”不是。`,
  fileOverLimit: (name, limit) => `“${name}”太大了，文本文件最多 ${limit}。`,
  fileUnreadable: (name) => `无法下载“${name}”，请重新上传。`,
  tooManyFiles: (countMax) => `最多只能附 ${countMax} 个文件。`,

  modelsTitle: "模型",
  modelLoaded: "就绪",
  modelDemo: "小型演示",
  modelHere: "本频道使用",
  modelContext: (tokens) => `上下文 ${tokens}`,
  modelsNone: "目前没有可用的模型。",
  modelUnknown: (name, known) => `没有“${name}”这个模型。现有：${known}。`,
  modelSet: (name) => `本频道现在使用 **${name}**。`,
  modelReset: (name) => `本频道已恢复默认模型 **${name}**。`,
  modelCurrent: (name, example) => `本频道使用 **${name}**。用 \`${example}\` 可以更换。`,
  defaultModel: "默认",

  personaSet: "已记下。从现在起，模型在本频道会先看到：",
  personaRemoved: "已移除。模型在本频道没有角色说明。",
  personaNone: (example) => `模型在本频道没有角色说明。用 \`${example}\` 可以设置。`,
  personaCurrent: "模型在本频道会先看到：",
  personaTooLong: (charsMax) => `请控制在 ${charsMax} 个字符以内，因为每次提问都会读一遍。`,

  forgotten: "已忘记。你此前在本频道说过的内容，我不会再使用。",

  usageTitle: (period) => `你最近 ${period}的用量`,
  statsTitle: (period) => `所有人最近 ${period}的用量`,
  usageRequests: (requests, failed, aborted) =>
    `${requests} 个问题${failed === 0 ? "" : `，${failed} 个失败`}${aborted === 0 ? "" : `，${aborted} 个被停止`}`,
  usageTokens: (prompt, completion, cached) =>
    `读入 ${prompt} 个 token${cached === 0 ? "" : `（其中 ${cached} 个来自缓存）`}，写出 ${completion} 个`,
  usageNone: "还没有提问。",
  statsByModel: "按模型",
  statsByUser: "按用户",
  statsBySource: "按来源",
  statsFirstWord: (p50, p95) => `首字 ${p50}${p95 === undefined ? "" : `（95 % 在 ${p95} 内）`}`,
  statsFeedback: "评价",
  statsRow: (name, requests, tokens) => `${name}：${requests} 个问题，${tokens} 个 token`,
  statsPicture: {
    title: (days) => `最近 ${days} 天的 token`,
    read: "读入",
    written: "写出",
    description: "每天读入和写出的 token",
  },
  statsMore: (count) => `还有 ${count} 项`,

  fitsNeedsQuery: "请写出模型和显卡，例如 `/fits 13b 6gb`。",
  compareBegins: (model) => `正在对比 **${model}** 的多种精度…`,
  compareStep: (label, percent) => `${label}（${percent} %）`,
  compareCancelled: "对比已取消。",
  compareOver: "这次对比已经结束。",
  comparePicture: "条形图：各精度的速度、内存、首 token 时间和困惑度",
  fitsPicture: "显存条：显存被什么占用",

  help: ({ commands, mention, ask, privately, followUps }) =>
    [
      "**四种提问方式**",
      `- 在任何频道使用 \`/${ask}\`；加上 \`${privately}\` 则只有你能看到回答`,
      `- 写 ${mention} 加上你的问题`,
      followUps === "replies"
        ? "- 回复我的回答可以继续聊；在子区里我会记住整个子区"
        : "- 在回答下面的消息列里可以继续聊；我会记住里面说过的话",
      "- 给我发私信",
      "",
      "**命令**",
      ...commands.map(({ name, description }) => `- \`/${name}\` ${description}`),
      "",
      "“停止”结束回答，“重新生成”再试一次，拇指让管理员知道哪些回答好。删除你的问题会停止运算。提问和回答都不会被保存。",
    ].join("\n"),

  failure: (sentence, requestId) => `⚠️ ${sentence}（请求 ${requestId}）`,
  errorSentences: undefined,
  retryAfter: (seconds) => `请在 ${seconds} 秒后再试。`,
};
