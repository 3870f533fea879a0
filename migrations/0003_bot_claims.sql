CREATE TABLE `bot_claims` (
	`source` text NOT NULL,
	`key` text NOT NULL,
	`at` integer NOT NULL,
	PRIMARY KEY(`source`, `key`)
);
--> statement-breakpoint
CREATE INDEX `bot_claims_at` ON `bot_claims` (`at`);