"""The same network on other servers, written as in their documentation."""
