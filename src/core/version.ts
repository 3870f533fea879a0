/** The version in package.json, for places that cannot read files; a test keeps the two alike. */
export const version = "0.1.0";
