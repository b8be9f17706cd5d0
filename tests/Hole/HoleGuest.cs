using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using Vmm.Devices.Simulation;

namespace Vmm.Hole;

/// <summary>A guest that uses the hole.</summary>
internal sealed class HoleGuest : IDisposable
{
    private readonly SimulatedGuest _guest = SimulatedGuest.For(new HoleDevice());
    private readonly long _memory;
    private long _used;

    internal HoleGuest() => _memory = BitConverter.ToInt64(Ask([HoleDevice.Memory], [], sizeof(long)));

    /// <summary>Makes a system call; an error is its number with a minus.</summary>
    internal long Call(params ReadOnlySpan<long> numberAndArguments) =>
        BitConverter.ToInt64(Ask([HoleDevice.Call, .. numberAndArguments], [], sizeof(long)));

    /// <summary>Makes one on a thread that the runtime started before the program.</summary>
    internal long CallElsewhere(params ReadOnlySpan<long> numberAndArguments) =>
        BitConverter.ToInt64(Ask([HoleDevice.CallElsewhere, .. numberAndArguments], [], sizeof(long)));

    /// <summary>Puts bytes into memory of the host's process, aligned to 8.</summary>
    internal long Bytes(params ReadOnlySpan<byte> bytes)
    {
        long at = _memory + _used;
        _used += (bytes.Length + 7) & ~7;
        Write(at, bytes);
        return at;
    }

    internal long Text(string text) => Bytes([.. Encoding.UTF8.GetBytes(text), 0]);

    internal long Longs(params ReadOnlySpan<long> values) => Bytes(MemoryMarshal.AsBytes(values));

    internal void Write(long at, ReadOnlySpan<byte> bytes) => Ask([HoleDevice.Write, at], bytes, 0);

    internal void WriteInt(long at, int value)
    {
        Span<byte> bytes = stackalloc byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(bytes, value);
        Write(at, bytes);
    }

    internal int ReadInt(long at) => BitConverter.ToInt32(Ask([HoleDevice.Read, at], [], sizeof(int)));

    public void Dispose() => _guest.Dispose();

    private byte[] Ask(ReadOnlySpan<long> what, ReadOnlySpan<byte> bytes, int answerBytes)
    {
        long[] numbers = new long[8];
        what.CopyTo(numbers);
        byte[] request = [.. MemoryMarshal.AsBytes<long>(numbers), .. bytes];
        DriverRequest made = _guest.Queue(0).Add(readable: [request], writable: answerBytes == 0 ? [1] : [answerBytes]);
        _guest.Kick(0).RunUntilIdle();
        return made.Written;
    }
}
