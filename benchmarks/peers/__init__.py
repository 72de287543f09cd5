"""The same network on other servers, written as their documentation suggests."""
