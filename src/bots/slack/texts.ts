/** What only Slack needs said. */
import type { BotLocale } from "../locale/texts.ts";

export interface SlackTexts {
  /** Above a reply that could not be written where it was asked for. */
  answeredInDirect: string;
  homeTitle: string;
  homeAsk: (mention: string) => string;
  /** Suggested questions: what is shown and what is asked. */
  prompts: readonly { title: string; message: string }[];
  promptsTitle: string;
  send: string;
  cancel: string;
  flags: { private: string };
}

export const SLACK_TEXTS: Record<BotLocale, SlackTexts> = {
  en: {
    answeredInDirect:
      "I am not in this channel, so I answer in your direct messages. Invite me with `/invite` to answer here.",
    homeTitle: "A language model of your own",
    homeAsk: (mention) =>
      `Write to me in the Messages tab, mention ${mention} in a channel, or use \`/ask\`. In a thread I remember the thread; a new message begins a new conversation.`,
    prompts: [
      { title: "What can you do?", message: "What can you do?" },
      { title: "Explain something", message: "Explain how a large language model works, in five sentences." },
      { title: "Write for me", message: "Write a short, friendly message that moves a meeting to tomorrow." },
      { title: "Help with code", message: "Write a regular expression for an ISO date and explain it." },
    ],
    promptsTitle: "What would you like to know?",
    send: "Ask",
    cancel: "Cancel",
    flags: { private: "only you see the answer" },
  },
  "zh-CN": {
    answeredInDirect: "我不在这个频道里，所以在私信中回答你。用 `/invite` 邀请我之后就可以在这里回答。",
    homeTitle: "你自己的语言模型",
    homeAsk: (mention) =>
      `在“消息”标签页里写信给我，在频道里提到 ${mention}，或者使用 \`/ask\`。同一消息列里我记得上下文；新消息开始新的对话。`,
    prompts: [
      { title: "你能做什么？", message: "你能做什么？" },
      { title: "解释一件事", message: "用五句话解释大语言模型是怎么工作的。" },
      { title: "帮我写", message: "写一条简短友好的消息，把会议改到明天。" },
      { title: "写代码", message: "写一个匹配 ISO 日期的正则表达式，并解释它。" },
    ],
    promptsTitle: "你想知道什么？",
    send: "提问",
    cancel: "取消",
    flags: { private: "只有你能看到回答" },
  },
  "zh-TW": {
    answeredInDirect: "我不在這個頻道裡，所以在私訊中回答你。用 `/invite` 邀請我之後就可以在這裡回答。",
    homeTitle: "你自己的語言模型",
    homeAsk: (mention) =>
      `在「訊息」分頁裡寫給我，在頻道裡提到 ${mention}，或者使用 \`/ask\`。同一討論串裡我記得上下文；新訊息開始新的對話。`,
    prompts: [
      { title: "你能做什麼？", message: "你能做什麼？" },
      { title: "解釋一件事", message: "用五句話解釋大型語言模型是怎麼運作的。" },
      { title: "幫我寫", message: "寫一則簡短友善的訊息，把會議改到明天。" },
      { title: "寫程式", message: "寫一個匹配 ISO 日期的正規表示式，並解釋它。" },
    ],
    promptsTitle: "你想知道什麼？",
    send: "提問",
    cancel: "取消",
    flags: { private: "只有你能看到回答" },
  },
};
