"""The suffixes of audio files."""

# What libsndfile reads.
AUDIO = {".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".aif", ".aiff", ".au", ".caf", ".w64"}
AUDIO |= {".rf64", ".sph", ".voc"}
# What ffmpeg reads, where it is installed; some of these are films.
OTHER_AUDIO = {".m4a", ".aac", ".wma", ".mp4", ".m4b", ".amr", ".3gp", ".webm", ".mkv", ".mov"}
OTHER_AUDIO |= {".ape", ".wv", ".avi"}
