"""The events that AWS Lambda receives from API Gateway, function URLs and load balancers."""

import base64
from typing import Any

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
FORM = f"multipart/form-data; boundary={BOUNDARY}"

Event = dict[str, Any]


def form(photo: bytes) -> bytes:
    head = (
        f"--{BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="file"; filename="bird.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + photo + f"\r\n--{BOUNDARY}--\r\n".encode()


def api_gateway_v1(method: str, path: str, body: bytes, content_type: str) -> Event:
    return {
        "resource": "/{proxy+}",
        "path": path,
        "httpMethod": method,
        "headers": {
            "Content-Type": content_type,
            "Host": "abc.execute-api.eu-west-1.amazonaws.com",
        },
        "multiValueHeaders": {
            "Content-Type": [content_type],
            "Host": ["abc.execute-api.eu-west-1.amazonaws.com"],
        },
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": {"proxy": path.lstrip("/")},
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "httpMethod": method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "curl/8"},
            "path": f"/prod{path}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "resourcePath": "/{proxy+}",
            "stage": "prod",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def api_gateway_v2(method: str, path: str, body: bytes, content_type: str) -> Event:
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": "",
        "headers": {
            "content-type": content_type,
            "host": "abc.execute-api.eu-west-1.amazonaws.com",
        },
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc",
            "domainName": "abc.execute-api.eu-west-1.amazonaws.com",
            "domainPrefix": "abc",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "curl/8",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": "$default",
            "time": "22/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1795348800000,
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def function_url(method: str, path: str, body: bytes, content_type: str) -> Event:
    event = api_gateway_v2(method, path, body, content_type)
    host = "abcdefg.lambda-url.eu-west-1.on.aws"
    event["headers"]["host"] = host
    event["requestContext"] |= {"domainName": host, "domainPrefix": "abcdefg", "apiId": "abcdefg"}
    return event


def load_balancer(method: str, path: str, body: bytes, content_type: str) -> Event:
    return {
        "requestContext": {
            "elb": {
                "targetGroupArn": (
                    "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/sky/50dc6c495c"
                )
            }
        },
        "httpMethod": method,
        "path": path,
        "queryStringParameters": {},
        "headers": {
            "content-type": content_type,
            "host": "sky-1234.eu-west-1.elb.amazonaws.com",
            "x-forwarded-for": "192.0.2.1",
            "x-forwarded-port": "443",
            "x-forwarded-proto": "https",
        },
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


SENDERS = [api_gateway_v1, api_gateway_v2, function_url, load_balancer]


def padded(photo: bytes, size: int) -> bytes:
    """Pad a photo with zeros to `size` bytes: decoders ignore them."""
    return photo + bytes(size - len(photo))
