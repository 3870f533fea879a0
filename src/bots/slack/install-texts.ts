/** What the install pages say. */
import type { BotLocale } from "../locale/texts.ts";

export interface InstallTexts {
  title: string;
  intro: string;
  button: string;
  installed: (team: string) => string;
  cancelled: string;
  /** The state is not the one this browser was given, or too old. */
  stale: string;
  again: string;
  orgWide: string;
  notOpen: string;
  failed: string;
}

export const INSTALL_TEXTS: Record<BotLocale, InstallTexts> = {
  en: {
    title: "Snug for Slack",
    intro: "A language model on somebody's own graphics card, in your workspace.",
    button: "Add to Slack",
    installed: (team) => `Snug is in ${team}. Write to it in Slack, or invite it into a channel.`,
    cancelled: "Nothing was installed: it was cancelled in Slack.",
    stale: "Nothing was installed: this page was not opened from the install page of this browser, or too long ago.",
    again: "Begin again",
    orgWide: "Nothing was kept: this bot is installed into single workspaces, not into a whole organization.",
    notOpen: "Nothing was kept: this bot is not open to your workspace.",
    failed: "Nothing was installed: Slack did not confirm it. Try again; the log of the bot says more.",
  },
  "zh-CN": {
    title: "Slack 上的 Snug",
    intro: "在自己的显卡上运行的语言模型，进入你的工作区。",
    button: "添加到 Slack",
    installed: (team) => `Snug 已安装到 ${team}。在 Slack 里写信给它，或邀请它进入频道。`,
    cancelled: "没有安装：已在 Slack 中取消。",
    stale: "没有安装：此页面不是由本浏览器的安装页打开的，或时间过久。",
    again: "重新开始",
    orgWide: "没有保存：此机器人只能安装到单个工作区，不能安装到整个组织。",
    notOpen: "没有保存：此机器人不对你的工作区开放。",
    failed: "没有安装：Slack 没有确认。请重试；机器人的日志里有详情。",
  },
  "zh-TW": {
    title: "Slack 上的 Snug",
    intro: "在自己的顯示卡上執行的語言模型，進入你的工作區。",
    button: "新增到 Slack",
    installed: (team) => `Snug 已安裝到 ${team}。在 Slack 裡寫給它，或邀請它進入頻道。`,
    cancelled: "沒有安裝：已在 Slack 中取消。",
    stale: "沒有安裝：此頁面不是由本瀏覽器的安裝頁開啟的，或時間過久。",
    again: "重新開始",
    orgWide: "沒有儲存：此機器人只能安裝到單一工作區，不能安裝到整個組織。",
    notOpen: "沒有儲存：此機器人不對你的工作區開放。",
    failed: "沒有安裝：Slack 沒有確認。請重試；機器人的記錄裡有詳情。",
  },
};
