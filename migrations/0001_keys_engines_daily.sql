CREATE TABLE `engines` (
	`name` text PRIMARY KEY NOT NULL,
	`url` text NOT NULL,
	`token` text,
	`weight` real NOT NULL,
	`draining` integer NOT NULL,
	`created_at` integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE `usage_daily` (
	`dimension` text NOT NULL,
	`day` integer NOT NULL,
	`key_id` text NOT NULL,
	`value` text NOT NULL,
	`requests` integer NOT NULL,
	`aborted` integer NOT NULL,
	`failed` integer NOT NULL,
	`interrupted` integer NOT NULL,
	`prompt_tokens` integer NOT NULL,
	`completion_tokens` integer NOT NULL,
	`cached_prompt_tokens` integer NOT NULL,
	`spread` text NOT NULL,
	PRIMARY KEY(`dimension`, `day`, `key_id`, `value`)
);
--> statement-breakpoint
ALTER TABLE `api_keys` ADD `expires_at` integer;--> statement-breakpoint
ALTER TABLE `api_keys` ADD `models` text;--> statement-breakpoint
ALTER TABLE `api_keys` ADD `limits` text;--> statement-breakpoint
ALTER TABLE `api_keys` ADD `user_limits` text;--> statement-breakpoint
CREATE INDEX `usage_user_at` ON `usage` (`user_id`,`at`);