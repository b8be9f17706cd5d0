using Mono.Cecil;
using Mono.Cecil.Cil;
using Mono.Cecil.Rocks;

namespace Vmm.Fuzz;

/// <summary>Puts a call of <see cref="CoverageMap.Hit"/> in front of each basic block of an assembly.</summary>
internal static class Instrumenter
{
    /// <summary>Changes an assembly's file.</summary>
    /// <returns>How many places it counts now.</returns>
    internal static int Instrument(string path)
    {
        using AssemblyDefinition assembly = AssemblyDefinition.ReadAssembly(path, new ReaderParameters { InMemory = true });
        ModuleDefinition module = assembly.MainModule;
        MethodReference hit = module.ImportReference(typeof(CoverageMap).GetMethod(nameof(CoverageMap.Hit)));
        // Always the same numbers, so that a corpus means the same tomorrow.
        Random numbers = new(1);
        int places = 0;
        foreach (MethodDefinition method in module.GetTypes().SelectMany(type => type.Methods).Where(method => method.HasBody))
            places += Instrument(method.Body, hit, numbers);
        assembly.Write(path);
        return places;
    }

    private static int Instrument(MethodBody body, MethodReference hit, Random numbers)
    {
        // Short branches would not reach over what is put in between.
        body.SimplifyMacros();
        HashSet<Instruction> blocks = Blocks(body);
        ILProcessor il = body.GetILProcessor();
        foreach (Instruction block in blocks)
        {
            // The block's first instruction keeps its identity, and so every branch to it: what it did moves behind it.
            Instruction moved = Instruction.Create(OpCodes.Nop);
            (moved.OpCode, moved.Operand) = (block.OpCode, block.Operand);
            (block.OpCode, block.Operand) = (OpCodes.Ldc_I4, numbers.Next(CoverageMap.Length));
            Instruction call = il.Create(OpCodes.Call, hit);
            il.InsertAfter(block, call);
            il.InsertAfter(call, moved);
        }
        body.OptimizeMacros();
        return blocks.Count;
    }

    private static HashSet<Instruction> Blocks(MethodBody body)
    {
        HashSet<Instruction> blocks = [body.Instructions[0]];
        foreach (Instruction instruction in body.Instructions)
        {
            if (instruction.Operand is Instruction target) blocks.Add(target);
            if (instruction.Operand is Instruction[] targets) blocks.UnionWith(targets);
            if (instruction.OpCode.FlowControl == FlowControl.Cond_Branch) blocks.Add(instruction.Next);
        }
        // A prefix and what it is for stay together.
        blocks.RemoveWhere(block => block.Previous?.OpCode.OpCodeType == OpCodeType.Prefix);
        return blocks;
    }
}
