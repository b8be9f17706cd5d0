using Vmm.Events;
using Vmm.Events.Native;

namespace Vmm.Benchmarks;

/// <summary>A file of blocks to read at random, the same for every variant; deleted with the process.</summary>
internal sealed class BlockFile
{
    internal const int BlockBytes = 4096;
    internal const ulong Blocks = 16_384;

    private const int DirectFlag = 0x4000;

    private BlockFile(bool isDirect)
    {
        IsDirect = isDirect;
        // Not in /tmp, which may be memory: O_DIRECT needs a disk.
        Path = System.IO.Path.Combine("/var/tmp", $"vmm-blocks-{Environment.ProcessId}-{(isDirect ? "direct" : "cached")}");
        byte[] block = new byte[BlockBytes];
        using FileStream file = File.Create(Path, 1 << 20);
        for (ulong i = 0; i < Blocks; i++)
        {
            BitConverter.TryWriteBytes(block, i);
            file.Write(block);
        }
        file.Flush(flushToDisk: true);
        AppDomain.CurrentDomain.ProcessExit += (_, _) => File.Delete(Path);
    }

    internal static Lazy<BlockFile> Cached { get; } = new(() => new BlockFile(isDirect: false));

    internal static Lazy<BlockFile> Direct { get; } = new(() => new BlockFile(isDirect: true));

    internal string Path { get; }

    internal bool IsDirect { get; }

    internal OwnedFd Open()
    {
        int duplicate;
        using (FileStream file = new(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 0))
        {
            using OwnedFd borrowed = new((int)file.SafeFileHandle.DangerousGetHandle());
            OwnedFd copy = borrowed.Duplicate();
            borrowed.SetHandleAsInvalid();
            duplicate = copy.Number;
            copy.SetHandleAsInvalid();
        }
        if (IsDirect && Libc.Fcntl(duplicate, Libc.F_SETFL, DirectFlag) < 0) throw new IOException($"{Path} cannot be read with O_DIRECT");
        return new OwnedFd(duplicate);
    }
}

/// <summary>Which block is next: cheap, and the same for every variant.</summary>
internal struct BlockOrder()
{
    private ulong _random = 88172645463325252;

    internal ulong NextOffset()
    {
        _random ^= _random << 13;
        _random ^= _random >> 7;
        _random ^= _random << 17;
        return _random % BlockFile.Blocks * BlockFile.BlockBytes;
    }
}
