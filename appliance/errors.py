"""Errors a person may see.

    ApplianceError             the work failed                                   exit 1
      ConfigError              a setting or argument that cannot be used         exit 2
      ImageError               the picture cannot be read, or is refused         exit 1
      ModelError               the model failed on this picture                  exit 1
      ReleaseError             no usable model release on this machine           exit 3
      ModelFileError           a model file that cannot become a release         exit 1
      GuidelineError           a document cannot be read or indexed              exit 1
        GuidelineIndexError    no usable guideline index on this machine         exit 3
      AtlasError               the atlas cannot be read or searched              exit 1
        AtlasMissingError      no atlas for this release on this machine         exit 3
      CaseError                the kept cases cannot be read or written          exit 1
      BackupError              a backup cannot be made, opened or restored       exit 1
      AccessError              nobody signed in, or this role may not            exit 2
      KitError                 a kit that is not whole, or cannot be installed   exit 1
      AuditError               the log is broken or cannot be written            exit 4
        AuditMissingError      there is no log on this machine yet               exit 3

The message names the thing and its value; the hint is one action possible here, offline.
"""


class ApplianceError(Exception):
    """What went wrong, in one line, and what to do about it."""

    code = "failed"
    """Stable word for programs; a subclass or an instance may be more precise."""
    exit_code = 1

    def __init__(self, message: str, hint: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class ConfigError(ApplianceError):
    code = "configuration"
    exit_code = 2


class ImageError(ApplianceError):
    code = "image"


class ModelError(ApplianceError):
    code = "model"


class ReleaseError(ApplianceError):
    code = "release"
    exit_code = 3


class ModelFileError(ApplianceError):
    code = "model-file"


class GuidelineError(ApplianceError):
    code = "guideline"


class GuidelineIndexError(GuidelineError):
    code = "guideline-index"
    exit_code = 3


class AtlasError(ApplianceError):
    code = "atlas"


class AtlasMissingError(AtlasError):
    code = "atlas-missing"
    exit_code = 3


class CaseError(ApplianceError):
    code = "case"


class BackupError(ApplianceError):
    code = "backup"


class AccessError(ApplianceError):
    code = "access"
    exit_code = 2


class KitError(ApplianceError):
    code = "kit"


class AuditError(ApplianceError):
    code = "audit"
    exit_code = 4


class AuditMissingError(AuditError):
    code = "audit-missing"
    exit_code = 3
