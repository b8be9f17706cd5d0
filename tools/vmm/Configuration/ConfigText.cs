using System.Text;

namespace Vmm.Tool;

/// <summary>The text of a configuration file, and where in it something stands.</summary>
/// <param name="Path">The file, as it was named.</param>
/// <param name="Text">What it says, without a byte order mark.</param>
internal sealed record ConfigText(string Path, string Text)
{
    /// <summary>The largest file: some 10,000 disks. A larger one is something else, and is not read.</summary>
    internal const int BytesMax = 1 << 20;

    private static readonly UTF8Encoding Strict = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    /// <summary>Reads a file.</summary>
    /// <exception cref="IOException">It can't be read, or is no configuration by its size.</exception>
    internal static ConfigText Read(string path, List<Mistake> mistakes)
    {
        if (Directory.Exists(path)) throw Refused("is a directory: name a file");
        byte[] bytes = new byte[BytesMax + 1];
        int length = 0;
        try
        {
            // A pipe is read to its end too: 'vmm check /dev/stdin'.
            using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, bufferSize: 0);
            for (int got = 1; got > 0 && length < bytes.Length; length += got) got = file.Read(bytes.AsSpan(length));
        }
        catch (Exception failure) when (failure is FileNotFoundException or DirectoryNotFoundException)
        {
            string where = System.IO.Path.IsPathRooted(path) ? "" : $" in '{Environment.CurrentDirectory}'";
            throw Refused($"does not exist{where}: correct the path");
        }
        catch (UnauthorizedAccessException)
        {
            throw Refused("may not be read by this user: look at its mode (chmod a+r)");
        }
        catch (IOException failure)
        {
            throw Refused($"cannot be read: {failure.Message}");
        }
        return length <= BytesMax ? Decode(path, bytes.AsSpan(0, length), mistakes)
            : throw Refused($"has more than {BytesMax >> 20} MiB, the most that one may have: is it another file?");

        IOException Refused(string why) => new($"the configuration file '{path}' {why}");
    }

    /// <summary>Makes text of a file's bytes. What is no text is a mistake, and the text ends before it.</summary>
    internal static ConfigText Decode(string path, ReadOnlySpan<byte> bytes, List<Mistake> mistakes)
    {
        if (bytes.StartsWith("\ufeff"u8)) bytes = bytes[3..];
        try
        {
            return new ConfigText(path, Strict.GetString(bytes));
        }
        catch (DecoderFallbackException)
        {
            int valid = 0;
            while (Rune.DecodeFromUtf8(bytes[valid..], out _, out int consumed) == System.Buffers.OperationStatus.Done) valid += consumed;
            string text = Strict.GetString(bytes[..valid]);
            mistakes.Add(new Mistake(text.Length, $"the byte 0x{bytes[valid]:x2} is no UTF-8, which a configuration file is written in: "
                + "save it as UTF-8, or name another file"));
            return new ConfigText(path, text);
        }
    }

    /// <summary>A place as editors take it: <c>FILE:LINE:COLUMN</c>, both from 1 and in characters.</summary>
    internal string PlaceOf(int at) => $"{LineOf(at)}:{Column(at)}";

    /// <summary>A line as editors take it: <c>FILE:LINE</c>.</summary>
    internal string LineOf(int at) => $"{Path}:{Text.AsSpan(0, at).Count('\n') + 1}";

    private int Column(int at)
    {
        int column = 1;
        for (int i = at - 1; i >= 0 && Text[i] != '\n'; i--)
        {
            if (!char.IsLowSurrogate(Text[i])) column++;
        }
        return column;
    }
}
