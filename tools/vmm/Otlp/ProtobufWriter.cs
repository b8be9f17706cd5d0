using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace Vmm.Tool;

/// <summary>Writes the few kinds of fields of a protobuf message that OTLP's histograms are made of.</summary>
internal sealed class ProtobufWriter
{
    private const int Fixed64 = 1, LengthDelimited = 2;

    private readonly ArrayBufferWriter<byte> _bytes = new();

    /// <summary>What was written.</summary>
    internal ReadOnlySpan<byte> Bytes => _bytes.WrittenSpan;

    /// <summary>Adds an integer of variable length.</summary>
    internal ProtobufWriter Add(int field, ulong value)
    {
        Variable((ulong)field << 3);
        Variable(value);
        return this;
    }

    /// <summary>Adds a text.</summary>
    internal ProtobufWriter Add(int field, string text) => AddBytes(field, Encoding.UTF8.GetBytes(text));

    /// <summary>Adds eight bytes.</summary>
    internal ProtobufWriter AddFixed(int field, ulong value)
    {
        Variable(((ulong)field << 3) | Fixed64);
        BinaryPrimitives.WriteUInt64LittleEndian(_bytes.GetSpan(sizeof(ulong)), value);
        _bytes.Advance(sizeof(ulong));
        return this;
    }

    /// <summary>Adds numbers of eight bytes each, packed.</summary>
    internal ProtobufWriter AddFixed(int field, ReadOnlySpan<long> values)
    {
        byte[] packed = new byte[values.Length * sizeof(long)];
        for (int i = 0; i < values.Length; i++) BinaryPrimitives.WriteInt64LittleEndian(packed.AsSpan(i * sizeof(long)), values[i]);
        return AddBytes(field, packed);
    }

    /// <summary>Adds a message.</summary>
    internal ProtobufWriter Add(int field, ProtobufWriter message) => AddBytes(field, message.Bytes);

    private ProtobufWriter AddBytes(int field, ReadOnlySpan<byte> bytes)
    {
        Variable(((ulong)field << 3) | LengthDelimited);
        Variable((ulong)bytes.Length);
        _bytes.Write(bytes);
        return this;
    }

    private void Variable(ulong value)
    {
        Span<byte> bytes = _bytes.GetSpan(10);
        int length = 0;
        for (; value > 0x7f; value >>= 7) bytes[length++] = (byte)(value | 0x80);
        bytes[length++] = (byte)value;
        _bytes.Advance(length);
    }
}
