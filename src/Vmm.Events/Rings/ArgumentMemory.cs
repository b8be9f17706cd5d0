using System.Buffers.Binary;
using System.Text;
using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>Arguments of operations in memory that the kernel reads: paths, addresses, times, heads of messages.</summary>
internal static class ArgumentMemory
{
    /// <summary>Bytes as they are.</summary>
    internal static LentBuffer LendBytes(this SlabPool scratch, ReadOnlySpan<byte> arguments)
    {
        SlabBuffer memory = scratch.Rent(arguments.Length);
        memory.Append(arguments);
        return memory.Lend();
    }

    /// <summary>A <c>struct __kernel_timespec</c>.</summary>
    internal static LentBuffer LendTime(this SlabPool scratch, TimeSpan time)
    {
        Span<byte> spec = stackalloc byte[16];
        BinaryPrimitives.WriteInt64LittleEndian(spec, time.Ticks / TimeSpan.TicksPerSecond);
        BinaryPrimitives.WriteInt64LittleEndian(spec[8..], time.Ticks % TimeSpan.TicksPerSecond * TimeSpan.NanosecondsPerTick);
        return scratch.LendBytes(spec);
    }

    /// <summary>A path with its zero, behind room for an answer.</summary>
    internal static LentBuffer LendPath(this SlabPool scratch, string path, int answerBytes = 0)
    {
        SlabBuffer memory = scratch.Rent(answerBytes + Encoding.UTF8.GetMaxByteCount(path.Length) + 1);
        int length = Encoding.UTF8.GetBytes(path, memory.Room[answerBytes..]);
        memory.Advance(answerBytes + length + 1);
        return memory.Lend();
    }
}
