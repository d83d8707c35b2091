"""What is wrong where S3 cannot be used, in words that say what to set. They name no credentials."""

from boto3.exceptions import Boto3Error
from botocore import exceptions as sdk

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile or role that they come from"

_OF_SDK: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (sdk.NoCredentialsError, sdk.PartialCredentialsError),
        "S3 needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give boto3 a profile or a role",
    ),
    ((sdk.ProfileNotFound,), "boto3 has no profile of the name in AWS_PROFILE"),
    (
        (
            sdk.CredentialRetrievalError,
            sdk.TokenRetrievalError,
            sdk.RefreshWithMFAUnsupportedError,
            sdk.SSOError,
            sdk.LoginError,
        ),
        "the credentials for S3 cannot be had: renew those of the profile or role that they come from",
    ),
    (
        (sdk.InvalidRegionError,),
        "the region for S3 can be none: see AWS_DEFAULT_REGION, or the profile that names it",
    ),
    (
        (sdk.SSLError,),
        "S3 has no certificate that is trusted: see AWS_CA_BUNDLE, and whether LABELMINT_S3_ENDPOINT_URL should begin "
        "with http://",
    ),
    ((sdk.ConnectionError, sdk.HTTPClientError), "S3 cannot be reached"),
)

_OF_ANSWERS = (
    (
        {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidSecurity"},
        f"S3 does not take the credentials: see {_KEYS}",
    ),
    ({"ExpiredToken", "InvalidToken", "TokenRefreshRequired"}, f"the credentials for S3 have run out: renew {_KEYS}"),
    (
        {"AccessDenied", "403", "Forbidden", "AllAccessDisabled"},
        "S3 forbids the call: in the bucket, the user of these credentials needs to get, put, list and delete objects, "
        "and to list and abort multipart uploads",
    ),
    ({"RequestTimeTooSkewed", "RequestExpired"}, "S3 finds the clock of this machine wrong: set it"),
    (
        {"AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException", "301"},
        "the bucket is in another region: set AWS_DEFAULT_REGION",
    ),
)


def fault_of_sdk(error: Boto3Error | sdk.BotoCoreError) -> str:
    """Why the SDK got no answer to a call, with its own word for that."""
    words = (words for kinds, words in _OF_SDK if isinstance(error, kinds))
    return f"{next(words, 'the SDK of S3 refuses the call')} ({type(error).__name__})"


def fault_of_answer(code: str, bucket: str) -> str:
    """What S3 means by an answer with the error `code`."""
    if code == "NoSuchBucket":
        return f"S3 has no bucket {bucket}"
    words = (words for codes, words in _OF_ANSWERS if code in codes)
    return f"{next(words, 'S3 refused the call')} ({code})"
