using System.Security.Cryptography;

namespace Vmm.EndToEnd;

/// <summary>A directory of a test's own, gone afterwards.</summary>
internal sealed class ScratchDirectory : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("vmm-test-");

    /// <summary>The directory itself.</summary>
    internal string Path => _directory.FullName;

    internal string PathOf(string name) => System.IO.Path.Combine(_directory.FullName, name);

    /// <summary>An image of random bytes from a seed, or a sparse one of zeros with a few of them.</summary>
    internal string CreateImage(string name, long bytes, bool sparse = false, int seed = 1)
    {
        string path = PathOf(name);
        Random random = new(seed);
        using FileStream file = new(path, FileMode.Create);
        file.SetLength(bytes);
        byte[] block = new byte[64 * 1024];
        if (sparse)
        {
            foreach (long at in (long[])[0, bytes / 3, bytes - block.Length])
            {
                random.NextBytes(block);
                file.Position = at / 512 * 512;
                file.Write(block);
            }
            return path;
        }
        for (long at = 0; at < bytes; at += block.Length)
        {
            random.NextBytes(block);
            file.Write(block.AsSpan(0, (int)Math.Min(block.Length, bytes - at)));
        }
        return path;
    }

    internal static string Sha256(string path)
    {
        using FileStream file = File.OpenRead(path);
        return Convert.ToHexStringLower(SHA256.HashData(file));
    }

    public void Dispose() => _directory.Delete(recursive: true);
}
