/** What went wrong, in words for the visitor: what was found, what was expected, what to do. */
export class PageError extends Error {}
