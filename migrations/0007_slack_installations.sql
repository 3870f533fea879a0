CREATE TABLE `slack_installations` (
	`team_id` text PRIMARY KEY NOT NULL,
	`sealed` text NOT NULL,
	`at` integer NOT NULL
);
