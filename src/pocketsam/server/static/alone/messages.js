// What the page and the worker send each other.
export {};
