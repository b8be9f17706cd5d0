using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vmm.Devices;

/// <summary>An Ethernet address, 48 bits. A value.</summary>
public readonly record struct MacAddress
{
    /// <summary>Bytes of an address.</summary>
    public const int Length = 6;

    private const int BitsPerByte = 8;
    private const byte GroupBit = 1, LocalBit = 2;

    /// <summary>In the order of the wire, the first byte highest.</summary>
    private readonly ulong _value;

    /// <summary>Takes an address from a frame.</summary>
    /// <param name="bytes">At least <see cref="Length"/> bytes, in the order of the wire.</param>
    public MacAddress(ReadOnlySpan<byte> bytes)
    {
        foreach (byte value in bytes[..Length]) _value = (_value << BitsPerByte) | value;
    }

    /// <summary>The address of everybody, ff:ff:ff:ff:ff:ff.</summary>
    public static MacAddress Broadcast { get; } = new([255, 255, 255, 255, 255, 255]);

    /// <summary>Whether it names several stations (the lowest bit of its first byte).</summary>
    public bool IsMulticast => (FirstByte & GroupBit) != 0;

    private byte FirstByte => (byte)(_value >> ((Length - 1) * BitsPerByte));

    /// <summary>An address that is most likely unique: random, one station's, locally administered.</summary>
    public static MacAddress Random()
    {
        Span<byte> bytes = stackalloc byte[Length];
        // Not the runtime's generator: it loads a library that a small host does not have.
        EntropySource.Kernel.Fill(bytes);
        bytes[0] = (byte)((bytes[0] & ~GroupBit) | LocalBit);
        return new MacAddress(bytes);
    }

    /// <summary>Reads <c>02:00:5e:10:00:01</c>.</summary>
    public static bool TryParse([NotNullWhen(true)] string? text, out MacAddress address)
    {
        address = default;
        string[] parts = text?.Split(':') ?? [];
        if (parts.Length != Length) return false;
        Span<byte> bytes = stackalloc byte[Length];
        for (int i = 0; i < Length; i++)
        {
            if (parts[i].Length != 2
                || !byte.TryParse(parts[i], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out bytes[i])) return false;
        }
        address = new MacAddress(bytes);
        return true;
    }

    /// <summary>Writes the address in the order of the wire.</summary>
    /// <param name="destination">At least <see cref="Length"/> bytes.</param>
    public void CopyTo(Span<byte> destination)
    {
        for (int i = 0; i < Length; i++) destination[i] = (byte)(_value >> ((Length - 1 - i) * BitsPerByte));
    }

    /// <inheritdoc/>
    public override string ToString()
    {
        Span<byte> bytes = stackalloc byte[Length];
        CopyTo(bytes);
        return $"{bytes[0]:x2}:{bytes[1]:x2}:{bytes[2]:x2}:{bytes[3]:x2}:{bytes[4]:x2}:{bytes[5]:x2}";
    }
}
