CREATE TABLE `admin_sessions` (
	`hash` text PRIMARY KEY NOT NULL,
	`key_id` text NOT NULL,
	`expires_at` integer NOT NULL
);
--> statement-breakpoint
CREATE INDEX `usage_failed_at` ON `usage` (`at`) WHERE "usage"."error_code" is not null;