/** The app's manifest, from the same data as the commands: paste it into Slack and the app is set up. */
import { availableCommands, type Capability, type CommandSpec, commandTexts, optionTexts } from "../commands.ts";
import { TEXTS } from "../locale/locale.ts";
import { askAboutCallback } from "./platform.ts";
import { SLACK_TEXTS } from "./texts.ts";

export interface ManifestOptions {
  /** At most 35 characters; also the bot's name. Default "Snug". */
  name?: string;
  /** Before every command, for workspaces where a plain name is taken: "snug-". */
  commandPrefix?: "" | "snug-";
  /** Public address Slack sends to, such as "https://example.org/slack/events"; undefined means Socket Mode. */
  requestUrl?: string;
  capabilities?: readonly Capability[];
}

/** Least rights: what each is for stands in docs/slack.md. */
export const botScopes = [
  "app_mentions:read",
  "assistant:write",
  "channels:history",
  "chat:write",
  "chat:write.public",
  "commands",
  "files:read",
  "files:write",
  "groups:history",
  "im:history",
  "im:write",
  "mpim:history",
  "users:read",
];

const events = [
  "agent_session_stopped",
  "app_home_opened",
  "app_mention",
  "app_uninstalled",
  "message.channels",
  "message.groups",
  "message.im",
  "message.mpim",
  "tokens_revoked",
];

const usageHintCharsMax = 1_000;

/** Valid against Slack's manifest schema 2. */
export function manifest(options: ManifestOptions = {}): Record<string, unknown> {
  const { name = "Snug", commandPrefix = "", requestUrl, capabilities = [] } = options;
  const url = requestUrl === undefined ? {} : { url: requestUrl };
  const request = requestUrl === undefined ? {} : { request_url: requestUrl };
  const texts = SLACK_TEXTS.en;
  return {
    _metadata: { major_version: 2, minor_version: 0 },
    display_information: {
      name,
      description: "Your own language model in Slack: ask, follow up, and see what fits your graphics card.",
      background_color: "#2b3a55",
    },
    features: {
      app_home: { home_tab_enabled: true, messages_tab_enabled: true, messages_tab_read_only_enabled: false },
      bot_user: { display_name: name, always_online: true },
      agent_view: {
        agent_description: "Answers with a large language model that runs on your own graphics card.",
        suggested_prompts: texts.prompts,
      },
      shortcuts: [
        {
          name: TEXTS.en.askAbout.name,
          type: "message",
          callback_id: askAboutCallback,
          description: TEXTS.en.askAbout.title,
        },
      ],
      slash_commands: availableCommands(capabilities).map((command) => ({
        command: `/${commandPrefix}${commandTexts(command, "en").name}`,
        description: `${commandTexts(command, "en").description} · ${commandTexts(command, "zh-CN").description}`,
        ...usageHint(command),
        should_escape: false,
        ...url,
      })),
    },
    oauth_config: { scopes: { bot: botScopes } },
    settings: {
      event_subscriptions: { ...request, bot_events: events },
      interactivity: { is_enabled: true, ...request },
      org_deploy_enabled: false,
      socket_mode_enabled: requestUrl === undefined,
      token_rotation_enabled: false,
    },
  };
}

/** The options as one types them: flags first, then the text. */
function usageHint(command: CommandSpec): { usage_hint?: string } {
  const typed = command.options.filter((option) => option.kind !== "file");
  const main = typed.find((option) => option.kind !== "flag");
  const flags = typed.filter((option) => option !== main);
  const hints = [
    ...flags.map((option) => {
      const { name } = optionTexts(command, option, "en");
      return option.kind === "flag" ? `[--${name}]` : `[--${name} …]`;
    }),
    ...(main === undefined ? [] : [main.choices?.join("|") ?? optionTexts(command, main, "en").name]),
  ];
  return hints.length === 0 ? {} : { usage_hint: hints.join(" ").slice(0, usageHintCharsMax) };
}
